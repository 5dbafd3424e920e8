//! What a client is made with.

use std::sync::Arc;
use std::time::Duration;

use baton_protocol::attachment::Timing;
use baton_protocol::policy::Policy;

use crate::identity::Identity;
use crate::options::{InvalidOptions, Options, validate};
use crate::profile::Profile;
use crate::transport::Sockets;

/// How long [`Client::connect`](crate::Client::connect) tries, unless told otherwise.
const ATTACH: Duration = Duration::from_secs(30);

/// What a client is made with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// Who it is.
    pub identity: Identity,
    /// Where its pool is.
    pub profile: Arc<Profile>,
    /// How patient it is. [`Timing::move_delay`] holds back the move that a GOAWAY asks for, after it was acknowledged: that
    /// is for drills, which want sessions that still are there when a rollout is taken back.
    pub timing: Timing,
    /// How long `connect` tries before it gives up; none means for ever. A refusal that time cannot heal ends it at once.
    pub attach_timeout: Option<Duration>,
    /// How it makes the sockets of its connections to relays.
    pub sockets: Sockets,
    /// What else can be set.
    pub options: Options,
    /// Whom it lets in, from the first datagram on. [`Client::set_policy`](crate::Client::set_policy) and its like change it.
    pub policy: Policy,
}

impl ClientConfig {
    /// The usual settings.
    #[must_use]
    pub fn new(identity: Identity, profile: Profile) -> Self {
        Self {
            identity,
            profile: Arc::new(profile),
            timing: Timing::default(),
            attach_timeout: Some(ATTACH),
            sockets: Sockets::default(),
            options: Options::default(),
            policy: Policy::default(),
        }
    }

    /// Holds back every move that a GOAWAY asks for by so much more than it says. For drills.
    #[must_use]
    pub fn move_delay(mut self, delay: Duration) -> Self {
        self.timing.move_delay = delay;
        self
    }

    /// How it makes its sockets: bound to an interface, or in another network namespace.
    #[must_use]
    pub fn sockets(mut self, sockets: Sockets) -> Self {
        self.sockets = sockets;
        self
    }

    /// How long `connect` tries.
    #[must_use]
    pub fn attach_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.attach_timeout = timeout;
        self
    }

    /// What else can be set.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Whom it lets in: by default, the peers of its group.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Whether these settings make sense; if not, everything that does not. [`Client::connect`](crate::Client::connect) asks
    /// this first.
    pub fn validate(&self) -> Result<(), InvalidOptions> {
        validate(self)
    }
}
