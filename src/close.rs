//! Why a session ends, as data: the close codes, and whether to come back.

/// Why the server ends a session; mirrors HTTP. `docs/protocol.md` has the same table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// The client closed.
    Normal,
    /// The daemon goes away.
    GoingAway,
    /// Not RFC 6455.
    ProtocolError,
    /// A text message that is not UTF-8.
    NotUtf8,
    /// The daemon is full.
    Overloaded,
    /// Not the protocol of this page.
    Malformed,
    /// Token missing, invalid or expired.
    Unauthorized,
    /// Not a member.
    Forbidden,
    /// An administrator said so. The code is that of `Forbidden`: to a client it is the same no.
    Ended,
    /// No valid token in time.
    AuthTimeout,
    /// A message beyond `limits.frame_bytes`.
    TooLarge,
    /// Too many requests.
    TooMany,
}

/// Whether a closed client should connect again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComeBack {
    /// The same would happen again.
    No,
    /// With backoff.
    Yes,
    /// With a fresh token.
    WithFreshToken,
    /// At a random moment, so that not all come at once.
    AtRandomMoment,
    /// After a while.
    Later,
}

impl Close {
    /// One of each code, in their order.
    pub const ALL: [Self; 11] = [
        Self::Normal,
        Self::GoingAway,
        Self::ProtocolError,
        Self::NotUtf8,
        Self::Overloaded,
        Self::Malformed,
        Self::Unauthorized,
        Self::Forbidden,
        Self::AuthTimeout,
        Self::TooLarge,
        Self::TooMany,
    ];

    /// Code, default reason, and whether to come back.
    pub fn describe(self) -> (u16, &'static str, ComeBack) {
        match self {
            Self::Normal => (1000, "bye", ComeBack::No),
            Self::GoingAway => (1001, "going away", ComeBack::AtRandomMoment),
            Self::ProtocolError => (1002, "protocol error", ComeBack::No),
            Self::NotUtf8 => (1007, "text is not UTF-8", ComeBack::No),
            Self::Overloaded => (1013, "overloaded", ComeBack::Later),
            Self::Malformed => (4400, "malformed", ComeBack::No),
            Self::Unauthorized => (4401, "token invalid or expired", ComeBack::WithFreshToken),
            Self::Forbidden => (4403, "forbidden", ComeBack::No),
            Self::Ended => (4403, "ended by an administrator", ComeBack::No),
            Self::AuthTimeout => (4408, "no auth in time", ComeBack::Yes),
            Self::TooLarge => (4413, "frame too large", ComeBack::No),
            Self::TooMany => (4429, "too many requests", ComeBack::Later),
        }
    }
}
