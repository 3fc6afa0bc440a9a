//! A protocol for tests of what all protocols share.

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue};
use modelpack_http::{Protocol, Url};
use modelpack_transfer::Result;

/// A protocol that needs no permission.
pub(crate) struct Open;

#[async_trait]
impl Protocol for Open {
    type Scope = ();

    async fn authorization(&self, (): &()) -> Result<Option<HeaderValue>> {
        Ok(None)
    }

    async fn refused(&self, (): &(), _: &Url, _: &HeaderMap, _: Option<&HeaderValue>, _: bool) -> Result<bool> {
        Ok(false)
    }
}
