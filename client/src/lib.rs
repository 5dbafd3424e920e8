//! Baton's client: peers that reach each other through relays, and do not notice when the relays are replaced.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use baton_client::{Allow, Client, ClientConfig, Identity, Profile};
//!
//! let profile = Profile::read("profile.json".as_ref())?;
//! let client = Client::connect(ClientConfig::new(Identity::load("key".as_ref())?, profile)).await?;
//! client.offer("web".parse()?, Allow::Group);
//! while let Some(incoming) = client.accept().await {
//!     println!("{} wants {}", incoming.peer(), incoming.service());
//!     let (mut send, _receive) = incoming.accept().await?;
//!     send.write_all(b"hello").await?;
//!     send.finish()?;
//! }
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Which task owns what:
//!
//! ```text
//! Client ── driver: the attachment, and the order of everything
//!    │        └── session, one per connection to a relay: QUIC, readers and writers
//!    │             └── pilot: its sockets, and which of them it uses
//!    └───── keeper: the inner endpoint
//!             └── one per connection to another peer ── one per stream that is being opened
//! ```
//!
//! Between them: `routes` (which session takes what to whom), `inbound` (what came from whom). No queue is unbounded, and
//! every task is joined by the one above it.

mod admission;
mod class;
mod client;
mod config;
mod driver;
mod e2e;
mod events;
pub mod files;
pub mod identity;
mod inbound;
mod life;
mod options;
mod paths;
mod policy;
mod presence;
pub mod profile;
mod renewal;
mod routes;
pub mod service;
mod session;
mod status;
pub mod tcp;
#[cfg(feature = "command")]
pub mod token;
mod transport;
pub mod udp;
mod unverified;

pub use baton_protocol::attachment::{Closed, Ended, Timing};
pub use baton_protocol::class::FailureClass;
pub use baton_protocol::frame::{
    GoAwayReason, Intent, LimitKind, PeerState, PolicyMode, RefusalCode, Refused, RuleVerb,
};
pub use baton_protocol::id::{InvalidPeerId, PeerId, RelayId, Stamp};
pub use baton_protocol::policy::{MAX_NAMES, Policy, TooManyNames};

pub use crate::client::{Client, ConnectError, MAX_DATAGRAM, Route, SendError, WatchError};
pub use crate::config::ClientConfig;
pub use crate::e2e::{
    Flow, FlowError, Gone, IncomingFlow, IncomingStream, OpenError, RecvStream, Rejection,
    SendStream, SetupError,
};
pub use crate::events::{Event, Events};
pub use crate::identity::{Identity, IdentityError};
pub use crate::life::Hold;
pub use crate::options::{InvalidOptions, OptionFault, Options};
pub use crate::paths::{Migrated, MigrationError, NewPath, PathManager, Probed, Switched};
pub use crate::policy::PolicyError;
pub use crate::presence::{TooManyWatches, Watcher};
pub use crate::profile::{Profile, ProfileError, TokenSource};
pub use crate::renewal::RenewError;
pub use crate::routes::{RouteState, TooManyRoutes};
pub use crate::service::{Allow, ServiceName};
pub use crate::status::{Path, Status};
pub use crate::transport::{MakeSocket, Sockets, TlsError};
