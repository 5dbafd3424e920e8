//! A client that speaks frame by frame.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use baton_protocol::ALPN;
use baton_protocol::datagram::{self, Datagram};
use baton_protocol::frame::{Decoder, Frame, GoAway, Hello, Intent, Welcome};
use baton_protocol::hello;
use baton_protocol::id::{Instance, PeerId};
use baton_protocol::packet::MIN_MTU;
use baton_relay::Relay;
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, RecvStream, SendStream, TokioRuntime,
    TransportConfig,
};

use crate::pool::{SERVER_NAME, certificate};

/// Nothing on loopback takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Where clients come from.
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Who a client is.
#[derive(Clone)]
pub(crate) struct Who {
    pub(crate) key: SigningKey,
    pub(crate) instance: Instance,
}

impl Who {
    pub(crate) fn new(number: u8) -> Self {
        Self {
            key: SigningKey::from_bytes(&[number; 32]),
            instance: Instance::from_bytes([number; 16]),
        }
    }

    pub(crate) fn id(&self) -> PeerId {
        hello::peer_of(&self.key)
    }

    pub(crate) fn hello(&self, intent: Intent, token: Bytes, ticket: Bytes) -> Hello {
        let (peer, instance) = (self.id(), self.instance);
        Hello { intent, peer, instance, capabilities: 0, token, ticket, signature: [0; 64] }
    }
}

/// One connection to a relay.
pub(crate) struct Peer {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    send: SendStream,
    receive: RecvStream,
    decoder: Decoder,
}

impl Peer {
    /// Connects, and says nothing.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, ConnectionError> {
        Self::connect_from(LOCAL, address).await
    }

    /// Connects from this address, and says nothing.
    pub(crate) async fn connect_from(
        from: SocketAddr,
        address: SocketAddr,
    ) -> Result<Self, ConnectionError> {
        Self::connect_with(from, address, baton_relay::transport::transport()).await
    }

    /// Connects, and never takes a byte of its control stream.
    pub(crate) async fn connect_deaf(address: SocketAddr) -> Result<Self, ConnectionError> {
        let mut transport = baton_relay::transport::transport();
        transport.stream_receive_window(0_u32.into());
        Self::connect_with(LOCAL, address, transport).await
    }

    /// Connects over a path that carries no more than every path must: its relay hears so at once.
    pub(crate) async fn connect_narrow(
        address: SocketAddr,
        streams: u32,
    ) -> Result<Self, ConnectionError> {
        let mut transport = baton_relay::transport::transport();
        transport.mtu_discovery_config(None).max_concurrent_uni_streams(streams.into());
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(MIN_MTU).unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::new(config, None, socket, Arc::new(TokioRuntime)).unwrap();
        Self::connect_by(endpoint, address, transport).await
    }

    async fn connect_with(
        from: SocketAddr,
        address: SocketAddr,
        transport: TransportConfig,
    ) -> Result<Self, ConnectionError> {
        let endpoint = Endpoint::client(from).unwrap();
        Self::connect_by(endpoint, address, transport).await
    }

    async fn connect_by(
        endpoint: Endpoint,
        address: SocketAddr,
        transport: TransportConfig,
    ) -> Result<Self, ConnectionError> {
        let config = client_config(transport);
        let connection = endpoint.connect_with(config, address, SERVER_NAME).unwrap().await?;
        let (send, receive) = connection.open_bi().await?;
        let mut decoder = Decoder::new();
        decoder.authenticated();
        Ok(Self { endpoint, connection, send, receive, decoder })
    }

    /// Attaches to a relay that lets anyone in.
    pub(crate) async fn attach(relay: &Relay, who: &Who) -> (Self, Welcome) {
        Self::attach_at(relay.address(), who).await
    }

    /// Attaches to what is reached at this address, and lets anyone in.
    pub(crate) async fn attach_at(address: SocketAddr, who: &Who) -> (Self, Welcome) {
        Self::greet(address, who, who.hello(Intent::Fresh, Bytes::new(), Bytes::new())).await
    }

    /// Attaches with this HELLO.
    pub(crate) async fn attach_with(relay: &Relay, who: &Who, hello: Hello) -> (Self, Welcome) {
        Self::greet(relay.address(), who, hello).await
    }

    async fn greet(address: SocketAddr, who: &Who, hello: Hello) -> (Self, Welcome) {
        let mut peer = Self::connect(address).await.unwrap();
        peer.hello(who, hello).await;
        let Frame::Welcome(welcome) = peer.next().await else { panic!("no WELCOME") };
        (peer, *welcome)
    }

    /// Signs and sends HELLO.
    pub(crate) async fn hello(&mut self, who: &Who, mut hello: Hello) {
        let mut exported = [0; hello::EXPORTER_LENGTH];
        let context = hello::exporter_context(&hello);
        self.connection
            .export_keying_material(&mut exported, hello::EXPORTER_LABEL, &context)
            .unwrap();
        hello::sign(&mut hello, &who.key, &exported);
        self.say(Frame::Hello(Box::new(hello))).await;
    }

    pub(crate) async fn say(&mut self, frame: Frame) {
        self.write(&frame.encode()).await;
    }

    /// Says something to a relay that may have closed the connection.
    pub(crate) async fn try_say(&mut self, frame: Frame) -> Result<(), quinn::WriteError> {
        self.send.write_all(&frame.encode()).await
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.send.write_all(bytes).await.unwrap();
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Frame {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("a frame").expect("a connection")
    }

    /// The next frame, however long it takes; `None` at the end.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let chunk = self.receive.read_chunk(4096, true).await.ok()??;
            self.decoder.push(&chunk.bytes);
        }
    }

    /// The frames that still come, until the connection ends.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut rest = Vec::new();
        let read = async {
            while let Some(frame) = self.read().await {
                rest.push(frame);
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an end");
        rest
    }

    /// Ends the control stream, which ends the session.
    pub(crate) fn hang_up(&mut self) {
        self.send.finish().unwrap();
    }

    /// The next frame, which must be GOAWAY.
    pub(crate) async fn go_away(&mut self) -> GoAway {
        match self.next().await {
            Frame::GoAway(goaway) => *goaway,
            other => panic!("{} instead of GOAWAY", other.name()),
        }
    }

    /// Opens a route and waits until it is open.
    pub(crate) async fn open(&mut self, alias: u64, peer: PeerId) {
        self.say(Frame::Open { alias, peer }).await;
        assert_eq!(self.next().await, Frame::Opened { alias });
    }

    pub(crate) fn send_datagram(&self, alias: u64, payload: &[u8]) {
        self.connection.send_datagram(datagram::aliased(alias, payload)).unwrap();
    }

    /// The next datagram.
    pub(crate) async fn datagram(&self) -> Datagram {
        let datagram = tokio::time::timeout(PATIENCE, self.connection.read_datagram()).await;
        Datagram::decode(&datagram.expect("a datagram").expect("a connection")).unwrap()
    }

    /// The payload of the next datagram.
    pub(crate) async fn payload(&self) -> Bytes {
        match self.datagram().await {
            Datagram::Long { payload, .. } | Datagram::Aliased { payload, .. } => payload,
            other => panic!("{other:?}"),
        }
    }

    /// The code that the relay closes the connection with.
    pub(crate) async fn closed(&self) -> u64 {
        match tokio::time::timeout(PATIENCE, self.connection.closed()).await.expect("an end") {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("{other}"),
        }
    }
}

fn client_config(transport: TransportConfig) -> quinn::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate().0).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport));
    config
}
