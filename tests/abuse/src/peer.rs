//! A client that speaks frame by frame, and may say whatever it likes.

use baton_protocol::frame::{Decoder, Frame, Hello, Intent};
use baton_protocol::hello;
use baton_protocol::id::{Instance, PeerId};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportErrorCode,
};

use crate::field::Field;

/// A connection to a relay, with its control stream.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    receive: RecvStream,
    decoder: Decoder,
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum Turned {
    /// The relay said REFUSED, with the code that is called so.
    Refused(&'static str),
    /// The relay closed the connection, with this code.
    Closed(u64),
    /// It answered the first packet with CONNECTION_REFUSED.
    Away,
    /// Anything else.
    Lost,
}

impl Turned {
    /// As it is counted.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Refused(code) => format!("refused {code}"),
            Self::Closed(code) => format!("closed {code:#04x}"),
            Self::Away => "turned away".to_owned(),
            Self::Lost => "lost".to_owned(),
        }
    }
}

impl From<ConnectionError> for Turned {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                Self::Closed(close.error_code.into_inner())
            }
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::Away
            }
            _ => Self::Lost,
        }
    }
}

impl Peer {
    /// Connects, and says nothing.
    pub(crate) async fn connect(field: &Field, endpoint: &Endpoint) -> Result<Self, Turned> {
        Self::connect_with(field, endpoint, field.config()).await
    }

    /// The same, with other settings.
    pub(crate) async fn connect_with(
        field: &Field,
        endpoint: &Endpoint,
        config: ClientConfig,
    ) -> Result<Self, Turned> {
        let told = field.told();
        let connecting = endpoint.connect_with(config, told.relay, &told.server_name);
        let connection = connecting.map_err(|_| Turned::Lost)?.await?;
        let (send, receive) = connection.open_bi().await?;
        let mut decoder = Decoder::new();
        decoder.authenticated();
        Ok(Self { connection, send, receive, decoder })
    }

    /// Attaches with this key and token.
    pub(crate) async fn attach(
        field: &Field,
        endpoint: &Endpoint,
        key: &SigningKey,
        token: Bytes,
    ) -> Result<Self, Turned> {
        let mut peer = Self::connect(field, endpoint).await?;
        peer.greet(field, key, token).await?;
        Ok(peer)
    }

    /// Says HELLO, and hears WELCOME.
    pub(crate) async fn greet(
        &mut self,
        field: &Field,
        key: &SigningKey,
        token: Bytes,
    ) -> Result<(), Turned> {
        let hello = self.hello(field, key, token);
        self.write(&hello).await?;
        self.answer().await
    }

    /// A HELLO that is good on this connection.
    pub(crate) fn hello(&self, field: &Field, key: &SigningKey, token: Bytes) -> Vec<u8> {
        let mut hello = Hello {
            intent: Intent::Fresh,
            peer: hello::peer_of(key),
            instance: Instance::from_bytes(field.random()),
            capabilities: 0,
            token,
            ticket: Bytes::new(),
            signature: [0; 64],
        };
        let mut exported = [0; hello::EXPORTER_LENGTH];
        let context = hello::exporter_context(&hello);
        // A connection that exports nothing has no good HELLO; the relay says so.
        let _ =
            self.connection.export_keying_material(&mut exported, hello::EXPORTER_LABEL, &context);
        hello::sign(&mut hello, key, &exported);
        Frame::Hello(Box::new(hello)).encode().to_vec()
    }

    /// What the relay answers to HELLO.
    pub(crate) async fn answer(&mut self) -> Result<(), Turned> {
        match self.read().await? {
            Frame::Welcome(_) => Ok(()),
            Frame::Refused(refused) => Err(Turned::Refused(refused.code.name())),
            _ => Err(Turned::Lost),
        }
    }

    pub(crate) async fn say(&mut self, frame: &Frame) -> Result<(), Turned> {
        self.write(&frame.encode()).await
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Turned> {
        match self.send.write_all(bytes).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.why()),
        }
    }

    /// The next frame.
    pub(crate) async fn read(&mut self) -> Result<Frame, Turned> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(_) => return Err(Turned::Lost),
            }
            match self.receive.read_chunk(16 * 1024, true).await {
                Ok(Some(chunk)) => self.decoder.push(&chunk.bytes),
                Ok(None) | Err(_) => return Err(self.why()),
            }
        }
    }

    /// Opens a route, and waits until it is open. What else is said meanwhile is passed over.
    pub(crate) async fn open(&mut self, alias: u64, peer: PeerId) -> Result<(), Turned> {
        self.say(&Frame::Open { alias, peer }).await?;
        while self.read().await? != (Frame::Opened { alias }) {}
        Ok(())
    }

    /// Reads whatever is said, answers what must be answered, and ends with the connection.
    pub(crate) async fn listen(mut self) -> Turned {
        loop {
            match self.read().await {
                Ok(Frame::Sender { alias, .. }) => {
                    if let Err(turned) = self.say(&Frame::SenderOk { alias }).await {
                        return turned;
                    }
                }
                Ok(_) => {}
                Err(turned) => return turned,
            }
        }
    }

    /// How the relay ends it.
    pub(crate) async fn closed(&self) -> Turned {
        self.connection.closed().await.into()
    }

    fn why(&self) -> Turned {
        self.connection.close_reason().map_or(Turned::Lost, Turned::from)
    }
}
