//! Connects to a destination, directly or through a proxy.
//!
//! See [`super::address_policy`] for the allowed addresses and [`super::proxy`] for tunnels.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::address_policy::{AddressPolicy, PolicyResolver};
use super::happy_eyeballs;
use super::proxy::{ProxyServer, TokioSocket, port};

type BoxError = Box<dyn Error + Send + Sync>;

/// Connector to a destination, directly or through its proxy.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) resolver: PolicyResolver,
    proxy: Option<Arc<ProxyServer>>,
}

/// Failure of a proxy to connect to the destination.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} {why}")]
struct ProxyError {
    proxy: String,
    why: String,
}

impl Connector {
    pub(super) fn new(address_policy: AddressPolicy, proxy: Option<Arc<ProxyServer>>) -> Self {
        // The operator has configured the proxy, so the proxy may have any address.
        let address_policy = if proxy.is_some() {
            AddressPolicy::Any
        } else {
            address_policy
        };
        Self {
            resolver: PolicyResolver::new(address_policy),
            proxy,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioSocket;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioSocket, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Self { resolver, proxy } = self.clone();
        Box::pin(async move {
            let Some(proxy) = proxy else {
                return Ok(connect_tcp(&resolver, &to).await?);
            };
            let tunnel = match connect_tcp(&resolver, &proxy.url).await {
                Ok(socket) => proxy.open_tunnel(socket, &to).await,
                Err(error) => Err(format!("can't be reached: {error}")),
            };
            tunnel.map_err(|why| {
                let authority = proxy.url.authority();
                let proxy = authority.map(ToString::to_string).unwrap_or_default();
                ProxyError { proxy, why }.into()
            })
        })
    }
}

/// Connects to the first address of the host of `to` that responds.
async fn connect_tcp(resolver: &PolicyResolver, to: &Uri) -> io::Result<TokioSocket> {
    let addresses = resolver
        .resolve(to.host().unwrap_or_default(), port(to))
        .await?;
    let tcp = happy_eyeballs::connect_first(&addresses).await?;
    // Without this, a head and a body that leave as two packets may wait for each other.
    tcp.set_nodelay(true)?;
    Ok(TokioIo::new(tcp))
}
