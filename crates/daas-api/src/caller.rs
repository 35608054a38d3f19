use std::fmt;

/// Who asks. It is told by the transport, never by the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A process of this machine, by the unix socket.
    Process {
        /// Its user id, as the kernel says (`SO_PEERCRED`).
        uid: u32,
        /// Its process id when it connected.
        pid: i32,
    },
    /// The holder of a client's certificate, by TLS.
    Certificate {
        /// The client's name.
        name: String,
    },
    /// The holder of a token, by TCP.
    Token {
        /// The token's name.
        name: String,
    },
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, .. } => write!(f, "uid {uid}"),
            Self::Certificate { name } => write!(f, "certificate {name}"),
            Self::Token { name } => write!(f, "token {name}"),
        }
    }
}
