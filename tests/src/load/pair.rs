//! The lives of one pair: peers attach, talk, leave, and others take their place.

use std::sync::Arc;
use std::time::Duration;

use baton_client::{Allow, Client, FailureClass, Profile, ServiceName};
use tokio::sync::watch;

use super::peer::Peer;
use super::{Meters, Pattern, Tally};
use crate::traffic::{Flow, converse, exchange};

/// What each direction of a stream offers.
const BYTES_PER_SECOND: u64 = 20_000;

/// A stream that is not open by then will not be.
const PATIENCE: Duration = Duration::from_secs(20);

/// After a failure to attach.
const PAUSE: Duration = Duration::from_secs(1);

/// What one pair does, over and over.
#[derive(Debug, Clone)]
pub(super) struct Lives {
    pub(super) pattern: Pattern,
    pub(super) profile: Arc<Profile>,
    pub(super) meters: Arc<Meters>,
    /// How often the address of one of them changes.
    pub(super) rebind_every: Option<Duration>,
    /// How long a life is, on average.
    pub(super) mean_life: Option<Duration>,
}

impl Lives {
    /// Lives until `stop`. `born` counts those whose first life has begun.
    pub(super) async fn run(
        self,
        mut stop: watch::Receiver<bool>,
        born: watch::Sender<usize>,
    ) -> Tally {
        let mut tally = Tally::default();
        let mut first = true;
        while !*stop.borrow() {
            let peers = tokio::join!(self.peer(self.rebind_every.is_some()), self.peer(false));
            if std::mem::take(&mut first) {
                born.send_modify(|born| *born += 1);
            }
            match peers {
                (Some(one), Some(other)) => {
                    self.live(&one, &other, &mut stop, &mut tally).await;
                    tokio::join!(one.leave(&self.meters), other.leave(&self.meters));
                    if !*stop.borrow() {
                        self.meters.lock().left += 2;
                    }
                }
                (one, other) => {
                    for alone in [one, other].into_iter().flatten() {
                        alone.leave(&self.meters).await;
                    }
                    let _ = tokio::time::timeout(PAUSE, stop.wait_for(|stop| *stop)).await;
                }
            }
        }
        tally
    }

    async fn peer(&self, behind: bool) -> Option<Peer> {
        Peer::attach(&self.profile, behind, &self.meters).await
    }

    /// One life. It ends by itself, or with `stop`.
    async fn live(
        &self,
        one: &Peer,
        other: &Peer,
        stop: &mut watch::Receiver<bool>,
        tally: &mut Tally,
    ) {
        let (end, ended) = watch::channel(false);
        tally.lives += 1;
        let talk = async {
            match self.pattern.flow() {
                Some(flow) => self.datagrams(one, other, flow, ended.clone(), tally).await,
                None => self.streams(&one.client, &other.client, ended.clone(), tally).await,
            }
        };
        let timing = async {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                () = life(self.mean_life) => {}
            }
            end.send_replace(true);
            // What is still talked needs no new addresses, but time.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = talk => {}
            () = timing => {}
            () = self.rebind(one, ended.clone()) => {}
        }
    }

    async fn rebind(&self, peer: &Peer, mut ended: watch::Receiver<bool>) {
        while let (Some(router), Some(every)) = (&peer.router, self.rebind_every) {
            // Not all at once.
            let wait = every.mul_f64(rand::random_range(0.5..1.5));
            if tokio::time::timeout(wait, ended.wait_for(|ended| *ended)).await.is_ok() {
                break;
            }
            router.rebind();
            self.meters.lock().rebinds += 1;
        }
        std::future::pending().await
    }

    async fn datagrams(
        &self,
        one: &Peer,
        other: &Peer,
        flow: Flow,
        ended: watch::Receiver<bool>,
        tally: &mut Tally,
    ) {
        let (one, other) = (&one.client, &other.client);
        let (there, back) = tokio::join!(
            exchange(one, other, flow, ended.clone()),
            exchange(other, one, flow, ended)
        );
        for exchanged in [there, back] {
            match exchanged {
                Ok(exchanged) => *tally += &exchanged,
                Err(error) => self.meters.failed(FailureClass::Other, error.to_string()),
            }
        }
    }

    async fn streams(
        &self,
        caller: &Client,
        service: &Client,
        ended: watch::Receiver<bool>,
        tally: &mut Tally,
    ) {
        let opening = tokio::time::timeout(PATIENCE, open(caller, service));
        let ends = opening.await.unwrap_or_else(|_| {
            Err(format!("the stream was not opened within {} s", PATIENCE.as_secs()))
        });
        let (near, far) = match ends {
            Ok(ends) => ends,
            Err(problem) => return self.meters.failed(FailureClass::Other, problem),
        };
        match converse(near, far, BYTES_PER_SECOND, ended).await {
            Ok(directions) => directions.iter().for_each(|direction| *tally += direction),
            Err(error) => tally.broken.push(error.to_string()),
        }
    }
}

type End = (baton_client::RecvStream, baton_client::SendStream);

/// A stream between the two, and its ends.
async fn open(caller: &Client, service: &Client) -> Result<(End, End), String> {
    let name: ServiceName = "load".parse().map_err(|error| format!("{error:?}"))?;
    service.offer(name.clone(), Allow::Any);
    let accepting = async {
        let incoming = service.accept().await.ok_or("the client was closed")?;
        incoming.accept().await.map_err(|error| error.to_string())
    };
    let opening =
        async { caller.open(service.peer(), &name).await.map_err(|error| error.to_string()) };
    let ((near_out, near_in), (far_out, far_in)) = tokio::try_join!(opening, accepting)?;
    Ok(((near_in, near_out), (far_in, far_out)))
}

/// A life's length: each moment is as likely to be its last as any other.
async fn life(mean: Option<Duration>) {
    match mean {
        Some(mean) => {
            let chance: f64 = rand::random_range(f64::MIN_POSITIVE..1.0);
            tokio::time::sleep(mean.mul_f64(-chance.ln())).await;
        }
        None => std::future::pending().await,
    }
}
