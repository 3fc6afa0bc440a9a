//! The body of an answer, read up to a limit.

use crate::{client::HttpClient, failure::Failure};
use modelpack_transfer::Error;
use reqwest::Response;
use std::time::{Duration, Instant};

/// How much of an error response is read, in bytes.
const MAX_ERROR_BYTES: usize = 16 << 10;
const ERROR_PATIENCE: Duration = Duration::from_secs(10);

impl HttpClient {
    /// The whole body of a response, which `what` names in an error.
    ///
    /// Fails with [`Error::Invalid`] if it has more than `limit` bytes, whatever its headers say, and if it breaks off or nothing comes for
    /// as long as the idle time-out.
    pub async fn read_limited(&self, mut response: Response, limit: usize, what: &str) -> Result<Vec<u8>, Failure> {
        let (url, idle) = (response.url().clone(), self.timeouts().idle);
        let mut bytes = Vec::new();
        loop {
            let asked = Instant::now();
            let piece = tokio::time::timeout(idle, response.chunk()).await.map_err(|_| Failure::stalled(&url, idle))?;
            let Some(piece) = piece.map_err(|e| Failure::network(&url, e).after(asked.elapsed()))? else { return Ok(bytes) };
            if bytes.len() + piece.len() > limit {
                return Err(Error::Invalid { what: what.to_owned(), why: format!("it has more than {limit} bytes") }.into());
            }
            bytes.extend_from_slice(&piece);
        }
    }
}

/// The beginning of an error's body; nothing if it does not come.
pub(crate) async fn read_message(mut response: Response) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while let Ok(Some(piece)) = response.chunk().await {
            bytes.extend_from_slice(&piece[..piece.len().min(MAX_ERROR_BYTES - bytes.len())]);
            if bytes.len() == MAX_ERROR_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(ERROR_PATIENCE, read).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
