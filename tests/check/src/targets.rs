//! The named targets.

use std::time::{Duration, Instant};

use crate::cluster::{self, Cluster, MODES};
use crate::command::{CargoTest, Deadline, step};
use crate::fresh;
use crate::report::{Outcome, Report};

/// How much of a target runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// What fits the budget of a change: one proxy mode.
    Test,
    /// All of it.
    Full,
    /// What takes so long that only its own name runs it, whole.
    Named,
}

/// A named group of checks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    tier: &'static str,
    about: &'static str,
    /// It is part of this, and of all that is more.
    from: Extent,
    /// Longer than this, all its commands and proxy modes together, and it is ended and counts as
    /// failed. Building Kubernetes is not in it: see `cluster::prepare`.
    limit: Duration,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Commands; each is one check.
    Steps(&'static [&'static [&'static str]]),
    /// Cargo tests that need nothing else.
    Tests(CargoTest),
    /// Of those, the ones that these words let through.
    Those(CargoTest, &'static [&'static str]),
    /// Cargo tests that own the machine's cluster.
    OwnCluster(CargoTest),
    /// Cargo tests on a cluster, in each proxy mode where all of it is run.
    OnCluster(CargoTest),
    /// Cargo tests on a cluster for which one proxy mode is as good as another.
    InOneMode(CargoTest),
    /// What a new user does in a new clone with nothing around it.
    Fresh(&'static [fresh::Step]),
}

/// The whole workspace, so that dependencies have the features that other tests built them with.
const FUZZ: CargoTest =
    CargoTest { package: None, features: Some("baton-fuzz/fuzzer"), tests: &[], threads: Some(2) };

/// Tests of a whole system, one after the other: each has the machine, or the cluster, for itself.
const fn system_test(feature: &'static str, tests: &'static [&'static str]) -> CargoTest {
    CargoTest { package: Some("baton-tests"), features: Some(feature), tests, threads: Some(1) }
}

/// The same, of a pool on a cluster.
const fn pool_test(tests: &'static [&'static str]) -> CargoTest {
    system_test("real-cluster", tests)
}

const MINUTE: u64 = 60;

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * MINUTE)
}

/// All targets, in the order in which they run: what fails fastest first.
pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "lint",
        tier: "lint",
        about: "formatting and lints of all code",
        from: Extent::Test,
        limit: minutes(15),
        kind: Kind::Steps(&[
            &["cargo", "fmt", "--check"],
            &["tests/lint-go.sh"],
            &[
                "cargo",
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "--deny",
                "warnings",
            ],
            // A library without what only the command needs.
            &[
                "cargo",
                "clippy",
                "--quiet",
                "--package",
                "baton-client",
                "--lib",
                "--no-default-features",
                "--",
                "--deny",
                "warnings",
            ],
        ]),
    },
    Target {
        name: "unit",
        tier: "unit",
        about: "the tests that need nothing but this checkout",
        from: Extent::Test,
        limit: minutes(15),
        kind: Kind::Tests(CargoTest { package: None, features: None, tests: &[], threads: None }),
    },
    Target {
        name: "seeds",
        tier: "unit",
        about: "by name: migration, return under the same id, drain of forwards, one owner of each GOAWAY",
        // They are part of `unit` and `paths`.
        from: Extent::Full,
        limit: minutes(15),
        kind: Kind::Those(
            // Some of them are about a whole system.
            CargoTest {
                package: None,
                features: Some("baton-tests/fleet"),
                tests: &[],
                threads: None,
            },
            // The tests in modules called `seeds`. Those of code for seeds are others.
            &["seeds::", "--skip=seeds::tests::"],
        ),
    },
    Target {
        name: "fleet",
        tier: "fleet",
        about: "real relays and clients on loopback: every relay is replaced under live streams",
        from: Extent::Test,
        limit: minutes(10),
        kind: Kind::Tests(system_test("fleet", &["fleet"])),
    },
    Target {
        name: "forwards",
        tier: "fleet",
        about: "the command carries TCP, UDP and a file of 1 GiB while relays go and addresses change",
        from: Extent::Full,
        limit: minutes(15),
        kind: Kind::Tests(system_test("fleet", &["forwards"])),
    },
    Target {
        name: "paths",
        tier: "fleet",
        about: "sessions whose clients change their addresses, over networks that lose, reorder, repeat, delay, rebind and swallow",
        from: Extent::Full,
        limit: minutes(15),
        kind: Kind::Tests(system_test("fleet", &["paths"])),
    },
    Target {
        name: "interop",
        tier: "fleet",
        about: "a client in Python, written from docs/protocol.md alone, with real relays and the command",
        from: Extent::Full,
        limit: minutes(10),
        kind: Kind::Tests(system_test("fleet", &["interop"])),
    },
    Target {
        name: "starvation",
        tier: "fleet",
        about: "a relay is heard by receivers at twice the rate that they take, and not without its guard",
        from: Extent::Full,
        limit: minutes(10),
        kind: Kind::Tests(system_test("fleet", &["starvation"])),
    },
    Target {
        name: "abuse",
        tier: "fleet",
        about: "a relay with one CPU and 512 MiB is abused in all ways, and its neighbours do not notice",
        from: Extent::Full,
        // Relay and attacker are built for release first.
        limit: minutes(20),
        kind: Kind::Tests(system_test("fleet", &["abuse"])),
    },
    Target {
        name: "fuzz",
        tier: "fuzz",
        about: "whatever strangers may send, under a guided fuzzer for 20 s each",
        from: Extent::Test,
        limit: minutes(20),
        kind: Kind::Tests(CargoTest { tests: &["fuzz"], ..FUZZ }),
    },
    Target {
        name: "fuzz-long",
        tier: "fuzz",
        about: "the same for an hour each",
        from: Extent::Named,
        limit: minutes(7 * 60),
        kind: Kind::Tests(CargoTest { tests: &["fuzz_long"], ..FUZZ }),
    },
    Target {
        name: "chart",
        tier: "chart",
        about: "the Helm chart, rendered by the real helm",
        from: Extent::Test,
        limit: minutes(15),
        kind: Kind::Tests(CargoTest {
            package: Some("baton-tests"),
            features: Some("chart"),
            tests: &["chart"],
            threads: None,
        }),
    },
    Target {
        name: "images",
        tier: "images",
        about: "images are the same bytes from two checkouts, and other tools read them",
        from: Extent::Full,
        limit: minutes(15),
        kind: Kind::Tests(CargoTest {
            package: Some("baton-image"),
            features: Some("slow-tests"),
            tests: &["reproducible", "readers"],
            threads: None,
        }),
    },
    Target {
        name: "lifecycle",
        tier: "cluster",
        about: "a cluster comes up, goes down, is killed, and leaves nothing",
        from: Extent::Test,
        limit: minutes(10),
        kind: Kind::OwnCluster(CargoTest {
            package: Some("baton-cluster"),
            features: Some("real-cluster"),
            tests: &["lifecycle"],
            threads: None,
        }),
    },
    Target {
        name: "wrong-use",
        tier: "cluster",
        about: "a wrong use gives one clear line and a failure",
        from: Extent::Test,
        limit: minutes(5),
        kind: Kind::OwnCluster(CargoTest {
            package: Some("baton-cluster"),
            features: Some("real-cluster"),
            tests: &["wrong_use"],
            threads: None,
        }),
    },
    Target {
        name: "cluster",
        tier: "cluster",
        about: "kubectl, load balancer, outside machines and faults of the cluster",
        from: Extent::Test,
        limit: minutes(10),
        kind: Kind::OnCluster(CargoTest {
            package: Some("baton-tests"),
            features: Some("real-cluster"),
            tests: &["cluster"],
            threads: Some(3),
        }),
    },
    Target {
        name: "kubernetes-facts",
        tier: "cluster",
        about: "what the design takes for granted about Kubernetes, measured",
        from: Extent::Test,
        limit: minutes(10),
        kind: Kind::OnCluster(CargoTest {
            package: Some("baton-tests"),
            features: Some("real-cluster"),
            tests: &["kubernetes_facts"],
            threads: Some(4),
        }),
    },
    Target {
        name: "upgrade",
        tier: "cluster",
        about: "a pool on Kubernetes is upgraded under live streams, and nothing is lost",
        from: Extent::Test,
        limit: minutes(30),
        kind: Kind::OnCluster(pool_test(&["upgrade"])),
    },
    Target {
        name: "upgrade-lossy",
        tier: "cluster",
        about: "the same at 50 ms and one percent loss on each client's link",
        from: Extent::Full,
        limit: minutes(30),
        kind: Kind::InOneMode(pool_test(&["upgrade_lossy"])),
    },
    Target {
        name: "revert",
        tier: "cluster",
        about: "an upgrade is taken back in the middle, and made again",
        from: Extent::Full,
        limit: minutes(30),
        kind: Kind::InOneMode(pool_test(&["revert"])),
    },
    Target {
        name: "pool",
        tier: "cluster",
        about: "a pool in its owner's hands: scaled, given bad images, deleted; bad pools are refused",
        from: Extent::Full,
        limit: minutes(30),
        kind: Kind::InOneMode(pool_test(&["pool"])),
    },
    Target {
        name: "kills",
        tier: "cluster",
        about: "operator and relays are killed under live streams, and nothing is lost",
        from: Extent::Full,
        limit: minutes(30),
        kind: Kind::InOneMode(pool_test(&["kills"])),
    },
    Target {
        name: "rebind",
        tier: "cluster",
        about: "a client's NAT rebinds twenty times, and its session stays",
        from: Extent::Full,
        limit: minutes(30),
        kind: Kind::OnCluster(pool_test(&["rebind"])),
    },
    Target {
        name: "fresh",
        tier: "fresh",
        about: "`make demo` three times, in a new clone with empty caches",
        from: Extent::Full,
        limit: minutes(40),
        kind: Kind::Fresh(fresh::DEMO),
    },
    Target {
        name: "fresh-test",
        tier: "fresh",
        about: "`make test` twice, in a new clone with empty caches",
        from: Extent::Named,
        limit: minutes(70),
        kind: Kind::Fresh(fresh::TEST),
    },
];

impl Target {
    /// Is it part of this?
    pub(crate) fn is_in(&self, extent: Extent) -> bool {
        self.from <= extent
    }

    /// Runs the target, and adds what came of it to the report.
    pub(crate) fn run(&self, extent: Extent, report: &mut Report) {
        match self.kind {
            Kind::Steps(commands) => {
                self.report(report, self.tier, || {
                    let deadline = Deadline::after(self.limit);
                    let mut outcome = Outcome::default();
                    for command in commands {
                        step(command, deadline)?;
                        outcome.tests += 1;
                    }
                    Ok(outcome)
                });
            }
            Kind::Tests(tests) => {
                self.report(report, self.tier, || tests.run(Deadline::after(self.limit)));
            }
            Kind::Those(tests, filter) => {
                self.report(report, self.tier, || {
                    tests.run_those(filter, Deadline::after(self.limit))
                });
            }
            Kind::OwnCluster(tests) => {
                self.report(report, self.tier, || match Cluster::must_be_down(self.name)? {
                    Some(left_out) => Ok(left_out),
                    None => {
                        cluster::prepare()?;
                        tests.run(Deadline::after(self.limit))
                    }
                });
            }
            Kind::OnCluster(tests) | Kind::InOneMode(tests) => {
                let any = matches!(self.kind, Kind::InOneMode(_)) || extent == Extent::Test;
                let modes = match Cluster::is_existing() {
                    // Its proxies are as they are.
                    Ok(true) => &[""],
                    _ if any => &MODES[..1],
                    _ => MODES,
                };
                let mut deadline = None;
                for mode in modes {
                    let tier = format!("{} {mode}", self.tier);
                    self.report(report, tier.trim_end(), || {
                        cluster::prepare()?;
                        let deadline = *deadline.get_or_insert_with(|| Deadline::after(self.limit));
                        let cluster = Cluster::up(mode, deadline)?;
                        let result = tests.run(deadline);
                        cluster.end(result.is_err())?;
                        result
                    });
                }
            }
            Kind::Fresh(steps) => {
                self.report(report, self.tier, || match Cluster::must_be_down(self.name)? {
                    Some(left_out) => Ok(left_out),
                    None => fresh::run(steps, Deadline::after(self.limit)),
                });
            }
        }
    }

    fn report(
        &self,
        report: &mut Report,
        tier: &str,
        run: impl FnOnce() -> anyhow::Result<Outcome>,
    ) {
        let started = Instant::now();
        report.begin(self.name, tier);
        let result = run();
        report.end(self.name, tier, started.elapsed(), result);
    }
}

/// Prints the targets.
#[expect(clippy::print_stdout, reason = "asked for")]
pub(crate) fn list() {
    for target in TARGETS {
        let Target { name, tier, about, from, .. } = target;
        let left_out = match from {
            Extent::Test => "",
            Extent::Full => " (not in `make test`)",
            Extent::Named => " (only by its name)",
        };
        println!("{name:18} {tier:8} {about}{left_out}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_words() {
        for (n, target) in TARGETS.iter().enumerate() {
            assert!(TARGETS[..n].iter().all(|other| other.name != target.name));
            assert!(target.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
        }
    }
}
