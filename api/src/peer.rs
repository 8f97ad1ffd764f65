//! Where a request comes from: the address of the other end, and whether that is this very machine. Behind a proxy on this machine the other
//! end is the proxy; a request that says it was forwarded is not taken for a local one.

use std::net::{IpAddr, Ipv6Addr};

use salvo::extract::{Extractible, Metadata};
use salvo::http::HeaderMap;
use salvo::oapi::{Components, EndpointArgRegister, Operation};
use salvo::{Depot, Request};

use crate::problem::Problem;

/// What proxies add.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// `None` where there is no network, as in tests.
    pub address: Option<IpAddr>,
    forwarded: bool,
}

impl Peer {
    pub fn of(req: &Request) -> Self {
        let address = req.remote_addr().ip().map(|address| address.to_canonical());
        Self { address, forwarded: is_forwarded(req.headers()) }
    }

    /// On this machine, and not in the name of somebody elsewhere.
    pub fn is_local(&self) -> bool {
        self.is_loopback() && !self.forwarded
    }

    pub fn is_loopback(&self) -> bool {
        self.address.is_some_and(|address| address.is_loopback())
    }

    /// What failures are counted by: one address, or the network that is given to one customer (IPv6: /64).
    pub fn counted_as(&self) -> Option<IpAddr> {
        self.address.map(|address| match address {
            IpAddr::V6(six) if !six.is_loopback() => Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 64)).into(),
            other => other,
        })
    }
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDED.iter().any(|name| headers.contains_key(*name))
}

impl<'ex> Extractible<'ex> for Peer {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, _depot: &'ex mut Depot) -> Result<Self, Problem> {
        Ok(Self::of(req))
    }
}

impl EndpointArgRegister for Peer {
    fn register(_components: &mut Components, _operation: &mut Operation, _arg: &str) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn peer(address: &str, forwarded: bool) -> Peer {
        let address: IpAddr = address.parse().unwrap();
        Peer { address: Some(address.to_canonical()), forwarded }
    }

    #[test]
    fn local_is_loopback_that_nobody_forwarded() {
        assert!(peer("127.0.0.1", false).is_local() && peer("::1", false).is_local() && peer("::ffff:127.0.0.1", false).is_local());
        assert!(!peer("127.0.0.1", true).is_local());
        assert!(!peer("192.168.1.5", false).is_local());
        assert!(!Peer { address: None, forwarded: false }.is_local());
    }

    #[test]
    fn a_network_of_six_counts_as_one() {
        assert_eq!(peer("2001:db8::1", false).counted_as(), peer("2001:db8::ffff:2", false).counted_as());
        assert_ne!(peer("2001:db8::1", false).counted_as(), peer("2001:db8:0:1::1", false).counted_as());
        assert_ne!(peer("10.0.0.1", false).counted_as(), peer("10.0.0.2", false).counted_as());
    }
}
