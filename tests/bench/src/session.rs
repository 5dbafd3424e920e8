//! One session that speaks the protocol frame by frame, over a connection of quinn.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use baton_protocol::datagram;
use baton_protocol::frame::{Decoder, Frame, Hello, Intent};
use baton_protocol::hello;
use baton_protocol::id::{Instance, PeerId};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use quinn::{Connection, Endpoint, RecvStream, SendStream};

use crate::subject::SERVER_NAME;

/// An attached session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) peer: PeerId,
    pub(crate) control: Control,
}

impl Session {
    /// Attaches, with this token; it is empty if the relay demands none.
    pub(crate) async fn attach(
        endpoint: &Endpoint,
        relay: SocketAddr,
        config: &quinn::ClientConfig,
        token: Bytes,
    ) -> anyhow::Result<Self> {
        let connection = endpoint.connect_with(config.clone(), relay, SERVER_NAME)?.await?;
        let (send, receive) = connection.open_bi().await?;
        let mut control = Control { send, receive, decoder: Decoder::new() };
        let key = SigningKey::from_bytes(&rand::random());
        let peer = hello::peer_of(&key);
        let mut hello = Hello {
            intent: Intent::Fresh,
            peer,
            instance: Instance::from_bytes(rand::random()),
            capabilities: 0,
            token,
            ticket: Bytes::new(),
            signature: [0; 64],
        };
        let (mut exported, context) =
            ([0; hello::EXPORTER_LENGTH], hello::exporter_context(&hello));
        let label = hello::EXPORTER_LABEL;
        if connection.export_keying_material(&mut exported, label, &context).is_err() {
            bail!("TLS exports no keying material");
        }
        hello::sign(&mut hello, &key, &exported);
        control.say(&Frame::Hello(Box::new(hello))).await?;
        match control.next().await? {
            Frame::Welcome(_) => control.decoder.authenticated(),
            Frame::Refused(refused) => {
                bail!("refused ({}): {}", refused.code.name(), refused.message)
            }
            other => bail!("{} instead of WELCOME", other.name()),
        }
        Ok(Self { connection, peer, control })
    }

    /// Opens a route. Gives the alias of its datagrams.
    pub(crate) async fn open(&mut self, peer: PeerId) -> anyhow::Result<u64> {
        let alias = datagram::FIRST_ALIAS;
        self.control.say(&Frame::Open { alias, peer }).await?;
        loop {
            match self.control.next().await? {
                Frame::Opened { alias: opened, .. } if opened == alias => return Ok(alias),
                Frame::Notice { .. } => bail!("the route does not open"),
                _ => {}
            }
        }
    }
}

/// The control stream of a session.
#[derive(Debug)]
pub(crate) struct Control {
    send: SendStream,
    receive: RecvStream,
    decoder: Decoder,
}

impl Control {
    pub(crate) async fn say(&mut self, frame: &Frame) -> anyhow::Result<()> {
        Ok(self.send.write_all(&frame.encode()).await?)
    }

    pub(crate) async fn next(&mut self) -> anyhow::Result<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(frame);
            }
            let chunk = self.receive.read_chunk(4096, true).await?;
            self.decoder.push(&chunk.context("the relay ended the control stream")?.bytes);
        }
    }

    /// Answers senders' names until the relay ends the stream: their datagrams come in the short form then.
    pub(crate) async fn know_senders(mut self) {
        while let Ok(frame) = self.next().await {
            if let Frame::Sender { alias, .. } = frame
                && self.say(&Frame::SenderOk { alias }).await.is_err()
            {
                return;
            }
        }
    }
}
