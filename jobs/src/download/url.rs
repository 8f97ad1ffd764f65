//! Which URLs are taken, by their text alone: http or https, the usual ports, no user names, and no host that is an address of our own
//! network. What a name leads to is judged when it is reached, by the proxy. Pure. RFC 3986, and WHATWG URL where programs differ.

use std::net::SocketAddr;

use super::address::{is_public, literal};
use super::proxy::split_host;

const CHARS_MAX: usize = 2_048;
const PORTS: [u16; 2] = [80, 443];

/// Why a URL is not taken; the text is for whoever sent it.
pub fn check(url: &str, allowed: &[SocketAddr]) -> Result<(), &'static str> {
    if url.chars().count() > CHARS_MAX {
        return Err("is too long");
    }
    // Programs disagree about these, and so about where the host ends.
    if url.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err("may not hold spaces, backslashes or control characters");
    }
    let (scheme, rest) = url.split_once("://").ok_or("must begin with http:// or https://")?;
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return Err("must begin with http:// or https://"),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("may not hold a user name");
    }
    let (host, port) = split_host(authority, Some(port)).ok_or("has no host that can be read")?;
    let address = literal(host).map_err(|_| "must name its host by a plain name or address")?;
    let known = |address: &SocketAddr| allowed.contains(address);
    match address.map(|address| SocketAddr::new(address, port)) {
        Some(address) if known(&address) => Ok(()),
        Some(address) if !is_public(address.ip()) => Err("leads to an address that is not public"),
        // A name may stand for an address that was let through by hand.
        None if allowed.iter().any(|address| address.port() == port) => Ok(()),
        _ if !PORTS.contains(&port) => Err("may use the ports 80 and 443 only"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_other_people_are_taken() {
        for url in [
            "https://example.org/watch?v=1#t=3",
            "HTTP://example.org",
            "http://example.org:443/ü",
            "https://[2606:4700::1111]/a",
            "https://1.1.1.1:80/",
        ] {
            assert_eq!(check(url, &[]), Ok(()), "{url}");
        }
    }

    #[test]
    fn no_url_leads_to_us_however_it_is_spelled() {
        let refused = [
            "",
            "example.org",
            "//example.org",
            "ftp://example.org/",
            "file:///etc/passwd",
            "data:text/html,x",
            "javascript://x",
            "http://",
            "http:///x",
            "https://user@example.org/",
            "https://user:pw@example.org/",
            "http://example.org@127.0.0.1/",
            "http://example.org:22/",
            "http://example.org:x/",
            "http://example.org:99999/",
            "http://a b/",
            "http://example.org\\@127.0.0.1/",
            "http://example.org\n/",
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://0/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://[fd00:ec2::254]/",
            "http://10.0.0.1/",
            "http://192.168.1.1:80/",
            "http://[fe80::1%25eth0]/",
            "http://[fe80::1]/",
            "http://0.0.0.0/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://①②⑦.0.0.1/",
            "http://127.0.0.1./",
            "http://[::]/",
            "http://100.64.0.1/",
            "http://198.18.0.1/",
        ];
        for url in refused {
            assert!(check(url, &[]).is_err(), "{url}");
        }
        assert!(check(&format!("http://example.org/{}", "a".repeat(3_000)), &[]).is_err());
    }

    #[test]
    fn what_was_let_through_by_hand_is_taken() {
        let here = [SocketAddr::from(([127, 0, 0, 1], 8_123))];
        assert_eq!(check("http://127.0.0.1:8123/a.wav", &here), Ok(()));
        assert_eq!(check("http://media.test:8123/a.wav", &here), Ok(()));
        assert!(check("http://127.0.0.1:8124/a.wav", &here).is_err());
        assert!(check("http://127.0.0.2:8123/a.wav", &here).is_err());
    }
}
