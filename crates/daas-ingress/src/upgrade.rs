//! Connections that stop being HTTP: WebSockets and their like.

use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// How much is copied at once each way.
const CHUNK: usize = 16 * 1024;

/// Returns the protocol that a request wants to change to.
///
/// `h2c` is not passed on: behind it requests would go past every rule (h2c smuggling), and RFC 9113 section 3.1 has given it up.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let named = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    let is_http = protocol.as_bytes().split(|b| *b == b',').any(|p| {
        let p = p.trim_ascii().to_ascii_lowercase();
        p.starts_with(b"h2c") || p.starts_with(b"http") || p.starts_with(b"tls")
    });
    (named && !is_http).then(|| protocol.clone())
}

/// Copies both ways until both sides have said all, or one breaks.
pub(crate) async fn join(front: OnUpgrade, back: OnUpgrade) {
    let (Ok(front), Ok(back)) = tokio::join!(front, back) else {
        return;
    };
    let (mut front, mut back) = (TokioIo::new(front), TokioIo::new(back));
    if let Err(error) =
        tokio::io::copy_bidirectional_with_sizes(&mut front, &mut back, CHUNK, CHUNK).await
    {
        tracing::debug!(%error, "a switched connection broke");
    }
}
