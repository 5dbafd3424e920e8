//! Whom the relay is to let in, from what the command was told: `--allow`, and the peers that it names itself.
//!
//! Services judge for themselves whom they serve. This is so that relays carry nothing else: where all that is exposed is for named
//! peers, nobody else's packets come as far as this process, and to them it looks as if it were not there.

use baton_client::{Allow, MAX_NAMES, PeerId, Policy, PolicyMode, RuleVerb};

/// For services that are for these, and a process that speaks with those peers by itself: it wants their answers.
pub(crate) fn of<'a>(
    allowed: impl IntoIterator<Item = &'a Allow>,
    speaks_with: impl IntoIterator<Item = PeerId>,
) -> Policy {
    let all = allowed.into_iter().cloned().reduce(Allow::or);
    let named: Vec<_> = all.iter().flat_map(Allow::named).chain(speaks_with).collect();
    let mut policy = Policy::new();
    let fits = policy.rule(RuleVerb::Allow, &named).is_ok();
    if !fits {
        let peers = named.len();
        tracing::warn!(
            peers,
            most = MAX_NAMES,
            "relays let in no more by name: they let in the group"
        );
    }
    policy.set_mode(match all {
        Some(Allow::Any) => PolicyMode::Any,
        Some(Allow::Peers(_)) if fits => PolicyMode::List,
        _ => PolicyMode::Group,
    });
    policy
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_for_named_peers_alone_is_a_list_and_any_is_any() {
        let [a, b, c] = [1, 2, 3].map(|number| PeerId::from_bytes([number; 32]));
        let peers = |peers: &[PeerId]| Allow::Peers(peers.iter().copied().collect());
        let table = [
            (vec![], vec![], PolicyMode::Group, vec![]),
            (vec![], vec![c], PolicyMode::Group, vec![c]),
            (vec![Allow::Group], vec![c], PolicyMode::Group, vec![c]),
            (vec![peers(&[a]), peers(&[b])], vec![c], PolicyMode::List, vec![a, b, c]),
            (vec![peers(&[a]), Allow::Group], vec![], PolicyMode::Group, vec![a]),
            (
                vec![peers(&[a]), Allow::Group.or(peers(&[b]))],
                vec![],
                PolicyMode::Group,
                vec![a, b],
            ),
            (vec![Allow::Group, Allow::Any, peers(&[a])], vec![], PolicyMode::Any, vec![]),
        ];
        for (allowed, speaks_with, mode, named) in table {
            let policy = of(&allowed, speaks_with);
            let named: BTreeSet<_> = named.into_iter().collect();
            assert_eq!((policy.mode(), policy.allowed()), (mode, &named), "{allowed:?}");
            assert!(policy.blocked().is_empty());
        }
    }

    #[test]
    fn more_names_than_a_relay_takes_are_judged_here_alone() {
        let peer = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            PeerId::from_bytes(bytes)
        };
        let allow = |count| Allow::Peers((0..count).map(peer).collect());
        assert_eq!(of(&[allow(MAX_NAMES)], []).mode(), PolicyMode::List);
        assert!(of(&[allow(MAX_NAMES + 1)], []).is_default());
    }
}
