//! Whom a client lets in, and that it stays so over moves.

use std::time::Duration;

use baton_client::{
    Allow, Client, Event, Events, OpenError, Policy, PolicyMode, Rejection, Route, RuleVerb,
    ServiceName,
};
use baton_relay::drain::Reason;
use tokio::task::JoinHandle;

use crate::fleet::{Fleet, flag, until};
use crate::udp::Way;

const PATIENCE: Duration = Duration::from_secs(20);

/// Where the sender is: at the receiver's relay, and at another.
const PLACES: [usize; 2] = [0, 1];

async fn next(events: &mut Events, is: impl Fn(&Event) -> bool) -> Event {
    let wanted = async {
        loop {
            let event = events.next().await.expect("the client lives");
            if is(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wanted).await.expect("the event comes")
}

fn is_knock(event: &Event) -> bool {
    matches!(event, Event::Knock { .. })
}

/// Sends without end.
fn flood(route: Route) -> JoinHandle<()> {
    send(route, Duration::from_micros(500))
}

/// Sends something again and again.
fn send(mut route: Route, pause: Duration) -> JoinHandle<()> {
    tokio::spawn(async move {
        route.opened().await;
        loop {
            let _ = route.send(b"let me in");
            tokio::time::sleep(pause).await;
        }
    })
}

/// The next datagram's sender.
async fn sender(client: &Client) -> baton_client::PeerId {
    tokio::time::timeout(PATIENCE, client.datagram()).await.expect("a datagram").0
}

/// How many datagrams relays dropped because their receivers let nobody of the kind in.
fn refused(fleet: &Fleet) -> u64 {
    let of = |metrics: String| -> u64 {
        let series = r#"baton_relay_dropped_total{reason="policy"} "#;
        metrics.lines().find_map(|line| line.strip_prefix(series)).unwrap().parse().unwrap()
    };
    fleet.relays.iter().map(|relay| of(relay.metrics())).sum()
}

async fn close(clients: impl IntoIterator<Item = Client>, fleet: Fleet) {
    for client in clients {
        client.close().await;
    }
    fleet.stop().await;
}

#[tokio::test]
async fn nothing_of_a_peer_that_is_blocked_comes_once_that_is_said() {
    for place in PLACES {
        let fleet = Fleet::start(2).await;
        let home = fleet.client(1, &[0]).await;
        let (bad, good) = (fleet.client(2, &[place]).await, fleet.client(3, &[place]).await);
        fleet.know(3).await;
        let _floods = [&bad, &good].map(|client| flood(client.route(home.peer()).unwrap()));
        for _ in 0..5 {
            while sender(&home).await != bad.peer() {}
            home.block(bad.peer()).await.unwrap();
            let before = refused(&fleet);
            until("its relay refuses it", || refused(&fleet) > before + 20).await;
            for _ in 0..100 {
                assert_eq!(sender(&home).await, good.peer());
            }
            home.unblock(bad.peer()).await.unwrap();
        }
        while sender(&home).await != bad.peer() {}
        close([home, bad, good], fleet).await;
    }
}

#[tokio::test]
async fn an_owner_that_changes_its_mind_all_the_time_keeps_its_session() {
    let fleet = Fleet::start(1).await;
    let home = fleet.client(1, &[0]).await;
    let changes = (0..60).map(|number| {
        let home = home.clone();
        async move { home.set_policy([PolicyMode::Any, PolicyMode::List][number % 2]).await }
    });
    let tasks: Vec<_> = changes.map(tokio::spawn).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let status = home.status();
    assert_eq!((status.resumes, status.relay), (0, Some(fleet.relays[0].id())), "{status:?}");
    close([home], fleet).await;
}

#[tokio::test]
async fn who_is_not_on_the_list_knocks_and_is_heard_when_it_is_allowed() {
    for place in PLACES {
        let fleet = Fleet::start(2).await;
        let mut policy = Policy::new();
        policy.set_mode(PolicyMode::List);
        let home = Client::connect(fleet.config(1, &[0]).policy(policy)).await.unwrap();
        let mut events = home.events();
        let asking = fleet.client(2, &[place]).await;
        fleet.know(2).await;
        // It looks to it as if nobody were there.
        let error = asking.ping(home.peer()).await.unwrap_err();
        assert!(matches!(error, OpenError::Offline), "{error}");
        let knock = Event::Knock { peer: asking.peer() };
        assert_eq!(next(&mut events, is_knock).await, knock);
        assert_eq!(home.status().dropped, 0, "nothing came as far as this");
        home.allow(asking.peer()).await.unwrap();
        asking.ping(home.peer()).await.unwrap();
        assert!(home.policy().allowed().contains(&asking.peer()));
        // And again, when it is not any more.
        home.disallow(asking.peer()).await.unwrap();
        asking.route(home.peer()).unwrap().send(b"let me in").unwrap();
        assert_eq!(next(&mut events, is_knock).await, knock);
        close([home, asking], fleet).await;
    }
}

#[tokio::test]
async fn services_for_the_group_are_for_the_group_though_strangers_are_let_in() {
    for place in PLACES {
        for by_name in [false, true] {
            let fleet = Fleet::start(2).await;
            let home = fleet.client(1, &[0]).await;
            let stranger = Client::connect(fleet.config_in("other", 2, &[place])).await.unwrap();
            let friend = fleet.client(3, &[place]).await;
            fleet.know(3).await;
            let error = stranger.ping(home.peer()).await.unwrap_err();
            assert!(matches!(error, OpenError::Offline), "{error}");
            let changed = match by_name {
                true => home.allow(stranger.peer()).await,
                false => home.set_policy(PolicyMode::Any).await,
            };
            changed.unwrap();
            // It must want the answers, too.
            stranger.allow(home.peer()).await.unwrap();
            let reached = async { while stranger.ping(home.peer()).await.is_err() {} };
            tokio::time::timeout(PATIENCE, reached).await.expect("it is let in");
            friend.ping(home.peer()).await.unwrap();
            let services =
                ["group", "any", "both"].map(|name| name.parse::<ServiceName>().unwrap());
            let named = Allow::Peers([stranger.peer()].into());
            let allows = [Allow::Group, Allow::Any, Allow::Group.or(named)];
            for (service, allow) in services.iter().zip(allows) {
                home.offer(service.clone(), allow);
            }
            let serving = tokio::spawn({
                let home = home.clone();
                async move {
                    while let Some(incoming) = home.accept().await {
                        let _ = incoming.accept().await;
                    }
                }
            });
            let refused = stranger.open(home.peer(), &services[0]).await.unwrap_err();
            let not_allowed = matches!(refused, OpenError::Rejected(Rejection::NotAllowed));
            assert!(not_allowed, "{refused}");
            for (client, service) in [(&friend, 0), (&friend, 1), (&stranger, 1), (&stranger, 2)] {
                client.open(home.peer(), &services[service]).await.unwrap();
            }
            // Their presence is still their group's.
            let mut watcher = stranger.watch(home.peer()).await.unwrap();
            assert_eq!(watcher.next().await, Some(baton_client::PeerState::Offline));
            serving.abort();
            close([home, stranger, friend], fleet).await;
        }
    }
}

/// A client that blocks one who sends all the time, from its first attachment on.
async fn besieged(fleet: &Fleet, config: baton_client::ClientConfig) -> (Vec<Client>, Client) {
    let bad = [fleet.client(2, &[0]).await, fleet.client(3, &[1]).await];
    let good = [fleet.client(4, &[0]).await, fleet.client(5, &[1]).await];
    let mut policy = Policy::new();
    policy.rule(RuleVerb::Block, &bad.clone().map(|client| client.peer())).unwrap();
    let peer = config.identity.peer();
    for client in bad.iter().chain(&good) {
        drop(flood(client.route(peer).unwrap()));
    }
    let home = Client::connect(config.policy(policy)).await.unwrap();
    (bad.into_iter().chain(good).collect(), home)
}

/// Whether, in all that came, there was nothing of those who are blocked: what came as far as the client would be counted.
fn nothing_came(home: &Client) {
    let status = home.status();
    assert_eq!(status.dropped, 0, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_goes_along_with_every_handover_before_anything_comes() {
    const HANDOVERS: u64 = 10;
    let fleet = Fleet::start(2).await;
    let mut config = fleet.config(1, &[0, 1]);
    config.timing.quick_goaway = Duration::ZERO;
    config.timing.linger = Duration::from_millis(100);
    let (others, home) = besieged(&fleet, config).await;
    let taking = tokio::spawn({
        let home = home.clone();
        async move { while home.datagram().await.0 != home.peer() {} }
    });
    let mut drained = 0;
    for number in 0..HANDOVERS {
        let before = home.status().handovers;
        let from = fleet.relays.iter().position(|relay| Some(relay.id()) == home.status().relay);
        drained = from.unwrap_or(drained);
        fleet.relays[drained].set_flag(flag(&format!("d{number}"), 30, Reason::Rollout));
        until("it has moved", || home.status().handovers > before).await;
        fleet.relays[drained].set_flag(None);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    nothing_came(&home);
    assert!(refused(&fleet) > 100, "the race was one: {}", refused(&fleet));
    taking.abort();
    close(others.into_iter().chain([home]), fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_goes_along_with_every_resume_before_anything_comes() {
    const RESUMES: u64 = 8;
    let fleet = Fleet::start(2).await;
    let ways = [Way::to(fleet.relays[0].address()).await, Way::to(fleet.relays[1].address()).await];
    let mut config = fleet.config_for(1, &[ways[0].address, ways[1].address]);
    config.options.unanswered = Duration::from_millis(300);
    config.timing.dial = Duration::from_millis(500);
    let (others, home) = besieged(&fleet, config).await;
    let taking = tokio::spawn({
        let home = home.clone();
        async move { while home.datagram().await.0 != home.peer() {} }
    });
    // Something that is not answered shows that a way is cut; and not so much of it that some would be dropped here.
    let asking = send(home.route(others[2].peer()).unwrap(), Duration::from_millis(20));
    for _ in 0..RESUMES {
        let before = home.status().resumes;
        let at = fleet.relays.iter().position(|relay| Some(relay.id()) == home.status().relay);
        let at = at.expect("it is attached");
        ways[at].cut();
        until("it is attached again", || home.status().resumes > before).await;
        ways[at].mend();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    nothing_came(&home);
    assert!(refused(&fleet) > 100, "the race was one: {}", refused(&fleet));
    asking.abort();
    taking.abort();
    close(others.into_iter().chain([home]), fleet).await;
}
