//! Numbered blocks through a stream, in both directions, each judged by who receives it.

use std::time::{Duration, Instant};

use baton_client::{Client, PeerId, RecvStream, SendStream, ServiceName};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const BLOCK: usize = 4096;

/// What one direction came to.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) blocks: u64,
    pub(crate) longest_gap: Duration,
}

/// A transfer in both directions that goes on until it is told to end.
pub(crate) struct Transfer {
    clients: [Client; 2],
    stop: watch::Sender<bool>,
    readers: Vec<JoinHandle<Received>>,
    writers: Vec<JoinHandle<()>>,
    pub(crate) progress: watch::Receiver<u64>,
}

impl Transfer {
    /// Opens a stream from one client to a service of another and keeps both directions busy, at `pause` between blocks.
    pub(crate) async fn start(from: &Client, to: &Client, pause: Duration) -> Self {
        let service: ServiceName = "blocks".parse().unwrap();
        to.offer(service.clone(), baton_client::Allow::Group);
        let accepting = tokio::spawn({
            let to = to.clone();
            async move { to.accept().await.unwrap().accept().await.unwrap() }
        });
        let there = from.open(to.peer(), &service).await.unwrap();
        let here = accepting.await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let (count, progress) = watch::channel(0);
        let (mut readers, mut writers) = (Vec::new(), Vec::new());
        for (mut send, mut receive) in [there, here] {
            let (stopped, count) = (stopped.clone(), count.clone());
            writers.push(tokio::spawn(async move { write(&mut send, stopped, pause).await }));
            readers.push(tokio::spawn(async move { read(&mut receive, &count).await }));
        }
        Self { clients: [from.clone(), to.clone()], stop, readers, writers, progress }
    }

    /// Waits until so many more blocks have come.
    pub(crate) async fn more(&mut self, blocks: u64) {
        let goal = *self.progress.borrow() + blocks;
        let more = self.progress.wait_for(|count| *count >= goal);
        if tokio::time::timeout(Duration::from_secs(30), more).await.is_err() {
            let statuses = self.clients.each_ref().map(Client::status);
            panic!("the transfer stands still at {}: {statuses:#?}", *self.progress.borrow());
        }
    }

    /// Ends it: every block that was sent has come, in order, once.
    pub(crate) async fn finish(self) -> Vec<Received> {
        self.stop.send_replace(true);
        let mut received = Vec::new();
        for task in self.readers {
            received
                .push(tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap());
        }
        for task in self.writers {
            task.await.unwrap();
        }
        received
    }
}

/// Sends blocks, and at the end how many there were.
async fn write(send: &mut SendStream, stopped: watch::Receiver<bool>, pause: Duration) {
    let mut number = 0_u64;
    while !*stopped.borrow() {
        send.write_all(&block(number)).await.unwrap();
        number += 1;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    let mut last = block(u64::MAX);
    last[8..16].copy_from_slice(&number.to_be_bytes());
    send.write_all(&last).await.unwrap();
    send.finish().unwrap();
    send.stopped().await.unwrap();
}

async fn read(receive: &mut RecvStream, count: &watch::Sender<u64>) -> Received {
    let mut buffer = vec![0; BLOCK];
    let (mut blocks, mut longest_gap, mut last) = (0_u64, Duration::ZERO, Instant::now());
    loop {
        receive.read_exact(&mut buffer).await.unwrap();
        longest_gap = longest_gap.max(last.elapsed());
        last = Instant::now();
        if buffer[..8] == u64::MAX.to_be_bytes() {
            assert_eq!(buffer[8..16], blocks.to_be_bytes(), "blocks are lost");
            break;
        }
        assert!(
            buffer == block(blocks),
            "block {blocks} is lost, doubled, out of order or damaged"
        );
        blocks += 1;
        count.send_modify(|count| *count += 1);
    }
    assert_eq!(receive.read(&mut buffer).await.unwrap(), None, "nothing comes after the end");
    Received { blocks, longest_gap }
}

fn block(number: u64) -> Vec<u8> {
    let mut block = vec![number as u8; BLOCK];
    block[..8].copy_from_slice(&number.to_be_bytes());
    block
}

/// Numbered datagrams from one client to another; gives how many were sent and how many came.
pub(crate) async fn datagrams(from: &Client, to: &Client, for_so_long: Duration) -> (u32, u32) {
    let receiving = tokio::spawn({
        let (to, from) = (to.clone(), from.peer());
        async move { count(&to, from).await }
    });
    let mut route = from.route(to.peer()).unwrap();
    route.opened().await;
    let began = Instant::now();
    let mut sent = 0_u32;
    while began.elapsed() < for_so_long {
        route.send(&sent.to_be_bytes()).unwrap();
        sent += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (sent, receiving.await.unwrap())
}

async fn count(to: &Client, from: PeerId) -> u32 {
    let mut seen = std::collections::BTreeSet::new();
    while let Ok((sender, payload)) =
        tokio::time::timeout(Duration::from_secs(1), to.datagram()).await
    {
        assert_eq!(sender, from);
        seen.insert(u32::from_be_bytes(payload[..].try_into().unwrap()));
    }
    seen.len() as u32
}
