//! Who this server answers: names it goes by (`Host`), and pages that may call it (`Origin`). A page of another site that makes the browser
//! resolve its own name to this machine (DNS rebinding) sends that name, and is refused. The policy is pure; the hoop asks it.

use std::net::{IpAddr, SocketAddr};

use salvo::http::header::{HOST, ORIGIN};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};

use crate::config::Config;
use crate::problem::{Code, Problem};

#[derive(Debug, Clone)]
pub struct HostPolicy {
    listen: SocketAddr,
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl HostPolicy {
    pub fn new(config: &Config) -> Self {
        let hosts = config.allowed_hosts.iter().map(|host| plain_origin(host)).collect();
        let origins = config.allowed_origins.iter().chain(&config.cors_origins).map(|origin| plain_origin(origin)).collect();
        Self { listen: config.listen, hosts, origins }
    }

    /// `authority` is a name or an address, with or without a port.
    pub fn answers_to(&self, authority: &str) -> bool {
        let name = host_of(authority).to_ascii_lowercase();
        let name = name.trim_end_matches('.');
        if name == "localhost" || name.ends_with(".localhost") || self.hosts.iter().any(|host| host == name) {
            return true;
        }
        let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else {
            return false;
        };
        // A literal address can't be rebound, so on a server that listens to the network any of its addresses will do.
        address.is_loopback() || address == self.listen.ip() || !self.listen.ip().is_loopback()
    }

    /// Pages of this very server (same name and port as the `Host` that was checked) and those that were configured.
    pub fn allows_origin(&self, origin: &str, authority: &str) -> bool {
        let origin = plain_origin(origin);
        let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        own.is_some_and(|own| own == authority.to_ascii_lowercase()) || self.origins.contains(&origin)
    }
}

/// As origins are compared.
pub fn plain_origin(text: &str) -> String {
    text.trim_end_matches('/').to_ascii_lowercase()
}

fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // A colon inside brackets, or one of several, belongs to an IPv6 address.
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && (host.ends_with(']') || !host.contains(':')) => host,
        _ => authority,
    }
}

#[async_trait]
impl Handler for HostPolicy {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let header = req.headers().get(HOST).and_then(|value| value.to_str().ok());
        let authority = header.or_else(|| req.uri().authority().map(|authority| authority.as_str())).unwrap_or_default().to_owned();
        let problem = if !self.answers_to(&authority) {
            let detail = "the Host header names no host of this server; allowed_hosts in its configuration adds names";
            Some(Problem::new(Code::HostNotAllowed, detail))
        } else {
            let origin = req.headers().get(ORIGIN).map(|value| value.to_str().unwrap_or_default());
            let refused = origin.is_some_and(|origin| !self.allows_origin(origin, &authority));
            let detail = "pages of that origin may not call this server; allowed_origins in its configuration adds some";
            refused.then(|| Problem::new(Code::OriginNotAllowed, detail))
        };
        match problem {
            Some(problem) => {
                res.render(problem);
                ctrl.skip_rest();
            }
            None => {
                ctrl.call_next(req, depot, res).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(listen: &str) -> HostPolicy {
        HostPolicy {
            listen: listen.parse().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 1))),
            hosts: vec!["voice.example".into()],
            origins: vec!["https://app.example".into()],
        }
    }

    #[test]
    fn loopback_names_and_configured_ones() {
        let policy = policy("127.0.0.1:8765");
        for good in [
            "localhost:8765",
            "LOCALHOST",
            "127.0.0.1:1",
            "127.8.8.8",
            "[::1]:8765",
            "::1",
            "voice.example:443",
            "a.localhost",
            "localhost.",
        ] {
            assert!(policy.answers_to(good), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:8765",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "",
            "192.168.1.5:8765",
            "[::2]",
            "127.0.0.1@evil.example",
        ] {
            assert!(!policy.answers_to(bad), "{bad}");
        }
    }

    #[test]
    fn a_server_of_the_network_answers_to_its_addresses_but_not_to_names() {
        let policy = policy("0.0.0.0:8765");
        assert!(policy.answers_to("192.168.1.5:8765") && policy.answers_to("[fe80::1]:8765"));
        assert!(!policy.answers_to("evil.example"));
    }

    #[test]
    fn own_pages_and_configured_origins() {
        let policy = policy("127.0.0.1:8765");
        assert!(policy.allows_origin("http://127.0.0.1:8765", "127.0.0.1:8765"));
        assert!(policy.allows_origin("https://app.example", "127.0.0.1:8765"));
        for bad in
            ["http://127.0.0.1:3000", "null", "", "https://evil.example", "http://evil.example/127.0.0.1:8765", "file://127.0.0.1:8765"]
        {
            assert!(!policy.allows_origin(bad, "127.0.0.1:8765"), "{bad}");
        }
    }
}
