//! The course of every drill: neighbours talk undisturbed, then under the abuse, and then nothing is left of it.

use std::time::{Duration, Instant};

use baton_tests::figures;
use baton_tests::until::until;
use rustix::process::{Pid, setpriority_process};
use serde_json::{Value, json};

use crate::attacker::{Attacker, Counts};
use crate::ground::{Ground, MEMORY};
use crate::machine::Used;
use crate::neighbour::{Neighbour, Window};

/// Datagrams that the neighbour sends in a second: a tenth of what a relay passes on with one CPU. That was measured as 4.5 us for
/// each in bulk (docs/performance.md), which is 220,000 in a second; a neighbour alone takes more than a tenth of the CPU for them,
/// because batches are small.
const PACE: f64 = 20_000.0;

/// Of that, so much must arrive, under the abuse, and without it.
const LEAST: f64 = 0.9;
const UNDISTURBED: f64 = 0.95;

/// Of what it should send, the neighbour can send so much, or this machine is too busy to judge anything.
const PACED: f64 = 0.8;

/// How long the neighbour is watched without the abuse, and under it.
const CONTROL: Duration = Duration::from_secs(3);
const ABUSE: Duration = Duration::from_secs(10);

/// How often it is tried on a machine that is busy with others: that is, who take so much of one CPU.
const TRIES: usize = 3;
const BUSY: f64 = 0.2;

/// What is left when the attacker is gone goes by then.
const FREED: Duration = Duration::from_secs(30);

/// As `nice` counts.
const HURRY: i32 = -10;

/// See the [module](self).
pub(crate) struct Drill {
    name: &'static str,
    pub(crate) ground: Ground,
    pub(crate) neighbour: Neighbour,
}

impl Drill {
    /// A relay and its neighbours, who get everything through.
    pub(crate) async fn begin(name: &'static str) -> Self {
        hurry();
        let ground = Ground::lay().await;
        let neighbour = Neighbour::settle(&ground).await;
        let mut drill = Self { name, ground, neighbour };
        // Whatever else ran on the machine may have ended meanwhile.
        for _ in 1..TRIES {
            if drill.watch("before", CONTROL).await.0.share() >= UNDISTURBED {
                return drill;
            }
        }
        let (control, _) = drill.watch("before", CONTROL).await;
        drill.assert_paced(&control);
        let share = control.share();
        assert!(share >= UNDISTURBED, "{name}: without any abuse the neighbour gets {control}");
        drill
    }

    pub(crate) fn record(&self, what: &str, value: impl std::fmt::Display) {
        figures::record("abuse", &format!("{}: {what}", self.name), value);
    }

    /// Begins an attack.
    pub(crate) fn attack(&self, attack: &str) -> Attacker {
        self.attack_with(attack, &json!({}))
    }

    /// Begins an attack that is told something.
    pub(crate) fn attack_with(&self, attack: &str, more: &Value) -> Attacker {
        Attacker::begin(&self.ground, attack, more)
    }

    /// The neighbour goes on under the abuse, and gets its datagrams through. Where it does not, and others took CPU time that
    /// the relay should have had, it is tried again.
    pub(crate) async fn endure(&mut self, attacker: &mut Attacker) -> Window {
        let mut tried = 0;
        loop {
            let (window, others) = self.watch("under abuse", ABUSE).await;
            assert!(attacker.is_alive(), "{}: the attacker has ended", self.name);
            assert!(self.ground.is_alive(), "{}: the relay has ended", self.name);
            tried += 1;
            if window.share() >= LEAST || others < BUSY || tried == TRIES {
                self.assert_paced(&window);
                return window;
            }
        }
    }

    /// What the neighbour gets in that time, and how much CPU time others took: of one CPU.
    async fn watch(&mut self, when: &str, length: Duration) -> (Window, f64) {
        let cpu =
            |ground: &Ground| [&ground.relay, &ground.attacker].map(|g| g.cpu_time().unwrap());
        let (before, used, began) = (cpu(&self.ground), Used::now(), Instant::now());
        let window = self.neighbour.window(PACE, length).await;
        let (after, length) = (cpu(&self.ground), began.elapsed().as_secs_f64());
        let [relay, attacker] = [0, 1].map(|which| after[which] - before[which]);
        let others = Used::now().others_since(&used, relay + attacker).as_secs_f64() / length;
        self.record(&format!("neighbour {when}"), &window);
        let percent = |used: Duration| used.as_secs_f64() / length * 100.0;
        let cpu = format!(
            "relay {:.0} %, attacker {:.0} %, others on this machine {:.0} %",
            percent(relay),
            percent(attacker),
            others * 100.0
        );
        self.record(&format!("CPU {when}"), cpu);
        (window, others)
    }

    /// The attacker is gone, and with it whatever it made the relay hold. Gives what it has counted.
    pub(crate) async fn recover(&mut self, attacker: Attacker, window: &Window) -> Counts {
        let counts = attacker.end();
        let name = self.name;
        let ended = Instant::now();
        until("the attacker's sessions are gone", FREED, || self.ground.sessions() == 2).await;
        until("nothing waits for them", FREED, || self.ground.count("queued_bytes") == 0).await;
        let freed = ended.elapsed();
        let peak = self.ground.relay.peak_memory().unwrap();
        let killed = self.ground.relay.out_of_memory().unwrap();
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let memory = format!("{:.1} of {:.0} MiB", mebibytes(peak), mebibytes(MEMORY));
        self.record("memory at most", memory);
        self.record("freed after", format!("{:.1} s", freed.as_secs_f64()));
        assert_eq!(killed, 0, "{name}: the relay ran out of memory");
        assert!(peak < MEMORY, "{name}: {peak} bytes of memory");
        assert!(window.share() >= LEAST, "{name}: the neighbour gets {window}");
        counts
    }

    /// Somebody new is let in.
    pub(crate) async fn newcomer(&self) {
        let newcomer = Neighbour::settle(&self.ground);
        let settled = tokio::time::timeout(FREED, newcomer).await;
        settled
            .unwrap_or_else(|_| panic!("{}: nobody is let in any more", self.name))
            .leave()
            .await;
    }

    /// Everybody goes.
    pub(crate) async fn end(self) {
        self.neighbour.leave().await;
        self.ground.clear().await;
    }

    /// The neighbour was able to send as it should: otherwise the machine is too busy to judge anything.
    fn assert_paced(&self, window: &Window) {
        let wanted = PACE * window.length.as_secs_f64();
        let sent = window.sent as f64;
        assert!(
            sent >= PACED * wanted,
            "{}: this machine is too busy: the neighbour could send {sent} of {wanted:.0} datagrams",
            self.name
        );
    }
}

/// This process sends in time, whatever else runs on the machine: what it is late with, no relay can make good.
fn hurry() {
    let threads = std::fs::read_dir("/proc/self/task").expect("this process has threads");
    let threads = threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for thread in threads.filter_map(Pid::from_raw) {
        setpriority_process(Some(thread), HURRY).expect("root may be served first");
    }
}
