//! The proxy of a request, by `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. May do: read the environment.
//!
//! The URL of a proxy may hold a password. So it is in no error and no `Debug`.

use std::{fmt, net::IpAddr};

use http::{Uri, uri::Scheme};
use hyper_util::client::proxy::matcher::Matcher;

/// The URL of a proxy that cannot be used. The text names the variable or the field, and never the value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unusable {
    /// It is not a URL.
    #[error("{0} is not the URL of a proxy: give one such as http://proxy.example.com:3128")]
    Url(String),
    /// It is the URL of another kind of proxy.
    #[error("{0} names a proxy of a kind that cannot be used here: give the URL of {1}")]
    Kind(String, &'static str),
}

/// The kinds of proxies that serve all requests.
pub const HTTP: Kinds = Kinds(&["http", "https"], "an http:// or https:// proxy");
/// The kinds of proxies that serve requests to the API server.
pub const HTTP_OR_SOCKS: Kinds = Kinds(&["http", "https", "socks5"], "an http://, https:// or socks5:// proxy");

/// Kinds of proxies: their schemes, and their names for people.
#[derive(Clone, Copy, Debug)]
pub struct Kinds(&'static [&'static str], &'static str);

/// The proxies that the environment names.
#[derive(Default)]
pub struct Proxies {
    http: Option<Uri>,
    https: Option<Uri>,
    exceptions: Exceptions,
}

/// Shows no URL: it may hold a password.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .finish_non_exhaustive()
    }
}

impl Proxies {
    /// Reads the proxies from the environment.
    pub fn from_env() -> Result<Self, Unusable> {
        Self::of(|name| std::env::var(name).ok())
    }

    /// Reads the proxies from these variables. As in the AWS SDK, a name in capitals is read first, even if it is
    /// empty.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Unusable> {
        let first = |names: [&'static str; 2]| {
            let found = names.into_iter().find_map(|name| Some((name, variable(name)?)));
            found.filter(|(_, value)| !value.trim().is_empty())
        };
        let proxy = |names| {
            let named = first(names).or_else(|| first(["ALL_PROXY", "all_proxy"]));
            named.map(|(name, value)| url(name, &value, HTTP)).transpose()
        };
        Ok(Self {
            http: proxy(["HTTP_PROXY", "http_proxy"])?,
            https: proxy(["HTTPS_PROXY", "https_proxy"])?,
            exceptions: Exceptions::of(&first(["NO_PROXY", "no_proxy"]).unwrap_or_default().1),
        })
    }

    /// Whether no request goes through a proxy.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }

    /// Returns the proxy of a request. `None`: the request goes directly.
    #[must_use]
    pub fn through(&self, uri: &Uri) -> Option<&Uri> {
        let proxy = match uri.scheme_str() {
            Some("http") => self.http.as_ref(),
            Some("https") => self.https.as_ref(),
            _ => None,
        };
        proxy.filter(|_| !self.exceptions.contain(uri))
    }
}

/// Parses the URL of a proxy. `name` is the place of the URL, for the error.
pub fn url(name: &str, text: &str, kinds: Kinds) -> Result<Uri, Unusable> {
    let no_url = || Unusable::Url(name.to_owned());
    let parse = |text: &str| text.parse::<Uri>().map_err(|_| no_url());
    let uri = match parse(text)? {
        // As in curl and in Go: without a scheme it is http.
        uri if uri.scheme().is_none() => parse(&format!("{}://{text}", Scheme::HTTP))?,
        uri => uri,
    };
    if uri.host().is_none_or(str::is_empty) || !has_usable_port(&uri) {
        return Err(no_url());
    }
    if !uri.scheme_str().is_some_and(|scheme| kinds.0.contains(&scheme)) {
        return Err(Unusable::Kind(name.to_owned(), kinds.1));
    }
    Ok(uri)
}

/// Whether the URL has no port, or one that a connection can be made to. `Uri` also parses other texts there.
pub fn has_usable_port(uri: &Uri) -> bool {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let port = place.strip_prefix(uri.host().unwrap_or_default()).unwrap_or_default();
    port.is_empty() || uri.port_u16().is_some_and(|port| port > 0)
}

/// The hosts of `NO_PROXY`, which are reached directly.
#[derive(Default)]
struct Exceptions {
    /// Whether this is every host.
    all: bool,
    /// The entries of each port, and those without a port.
    by_port: Vec<(Option<u16>, Matcher)>,
}

impl Exceptions {
    /// Parses a list of hosts, suffixes, addresses and ranges, each with a port or without. The matcher of `hyper-util`
    /// compares them. It knows neither ports, nor brackets, nor `*` before a suffix.
    fn of(list: &str) -> Self {
        let entries: Vec<_> = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).collect();
        let mut hosts: Vec<(Option<u16>, Vec<&str>)> = Vec::new();
        for entry in &entries {
            let (host, port) = split(entry);
            let host = host
                .strip_prefix('*')
                .filter(|rest| rest.starts_with('.'))
                .unwrap_or(host);
            match hosts.iter_mut().find(|(of, _)| *of == port) {
                Some((_, hosts)) => hosts.push(host),
                None => hosts.push((port, vec![host])),
            }
        }
        // A matcher says that a host is excepted by not sending it to the proxy that it is given.
        let matcher = |hosts: Vec<&str>| Matcher::builder().all("http://proxy").no(hosts.join(",")).build();
        Self {
            all: entries.contains(&"*"),
            by_port: hosts.into_iter().map(|(port, hosts)| (port, matcher(hosts))).collect(),
        }
    }

    fn contain(&self, uri: &Uri) -> bool {
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        let is_named =
            |(of, matcher): &(Option<u16>, Matcher)| of.is_none_or(|of| of == port) && matcher.intercept(uri).is_none();
        let host = uri.host().unwrap_or_default();
        // Go, and with it kubectl, never sends these to a proxy. The SDKs of AWS ask for credentials directly.
        self.all || is_loopback(host) || gives_credentials(host) || self.by_port.iter().any(is_named)
    }
}

/// Splits an entry into the host, without brackets, and the port.
fn split(entry: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        // More than one colon: an IPv6 address.
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

/// Whether this host of a URL is the machine itself.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || address(host).is_some_and(|address| address.is_loopback())
}

/// Whether this host of a URL is an address at which AWS gives credentials to a machine or a container: the instance
/// metadata service, the ECS agent, the EKS Pod Identity agent.
#[must_use]
pub fn gives_credentials(host: &str) -> bool {
    match address(host) {
        // All are link-local addresses, so the last hop is the machine itself.
        Some(IpAddr::V4(address)) => address.is_link_local(),
        // fd00:ec2::/32: the unique local addresses of EC2.
        Some(IpAddr::V6(address)) => address.segments()[..2] == [0xfd00, 0x0ec2],
        None => false,
    }
}

fn address(host: &str) -> Option<IpAddr> {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    Some(host.parse::<IpAddr>().ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, Unusable> {
        Proxies::of(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn through(variables: &[(&str, &str)], uri: &str) -> String {
        let proxies = proxies(variables).unwrap();
        let proxy = proxies.through(&uri.parse().unwrap());
        proxy.map_or_else(String::new, ToString::to_string)
    }

    const PROXY: (&str, &str) = ("HTTPS_PROXY", "http://proxy.test:3128");

    #[test]
    fn a_request_goes_through_the_proxy_of_its_scheme() {
        let https = "https://amplify.eu-west-1.amazonaws.com/apps";
        let http = "http://aws.test/apps";
        for (variables, https_through, http_through) in [
            (&[][..], "", ""),
            (&[PROXY], "http://proxy.test:3128/", ""),
            (&[("https_proxy", "proxy.test:3128")], "http://proxy.test:3128/", ""),
            (&[("HTTP_PROXY", "http://plain.test")], "", "http://plain.test/"),
            (
                &[("ALL_PROXY", "https://all.test")],
                "https://all.test/",
                "https://all.test/",
            ),
            (
                &[("all_proxy", "http://all.test"), PROXY],
                "http://proxy.test:3128/",
                "http://all.test/",
            ),
            (
                &[PROXY, ("https_proxy", "http://other.test")],
                "http://proxy.test:3128/",
                "",
            ),
            // An empty variable is no proxy.
            (&[("HTTPS_PROXY", "")], "", ""),
            (&[("HTTPS_PROXY", " ")], "", ""),
            (&[("HTTPS_PROXY", ""), ("https_proxy", "http://other.test")], "", ""),
            // kube makes the header of name and password.
            (
                &[("HTTPS_PROXY", "http://me:s3cret@proxy.test:3128")],
                "http://me:s3cret@proxy.test:3128/",
                "",
            ),
        ] {
            assert_eq!(through(variables, https), https_through, "{variables:?}");
            assert_eq!(through(variables, http), http_through, "{variables:?}");
            assert_eq!(
                proxies(variables).unwrap().is_empty(),
                https_through.is_empty() && http_through.is_empty()
            );
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn no_proxy_names_hosts_suffixes_addresses_and_ranges_with_a_port_or_without() {
        for (list, direct, proxied) in [
            (
                "kube.test",
                &["https://kube.test:6443", "https://a.kube.test"][..],
                &["https://notkube.test"][..],
            ),
            (
                ".kube.test",
                &["https://kube.test", "https://a.b.kube.test"],
                &["https://kube.test.evil"],
            ),
            ("*.kube.test", &["https://a.kube.test"], &["https://other.test"]),
            ("KUBE.test", &["https://kube.TEST"], &[]),
            (
                "10.0.0.0/8",
                &["https://10.96.0.1", "https://10.1.2.3:6443"],
                &["https://11.0.0.1", "https://ten.test"],
            ),
            ("10.96.0.1", &["https://10.96.0.1:443"], &["https://10.96.0.2"]),
            ("fd12::/16", &["https://[fd12::1]:6443"], &["https://[fd13::1]"]),
            ("fd12::1", &["https://[fd12::1]"], &["https://[fd12::2]"]),
            ("[fd12::1]", &["https://[fd12::1]"], &["https://[fd12::2]"]),
            ("[fd12::1]:6443", &["https://[fd12::1]:6443"], &["https://[fd12::1]"]),
            (
                "kube.test:6443",
                &["https://kube.test:6443", "https://a.kube.test:6443"],
                &["https://kube.test"],
            ),
            (
                "kube.test:443",
                &["https://kube.test"],
                &["https://kube.test:6443", "http://kube.test"],
            ),
            ("10.96.0.1:6443", &["https://10.96.0.1:6443"], &["https://10.96.0.1"]),
            (
                "a.test, b.test:8443 ,c.test,",
                &["https://a.test", "https://b.test:8443", "https://c.test"],
                &["https://b.test"],
            ),
            (
                "a.test b.test",
                &["https://a.test", "https://b.test"],
                &["https://c.test"],
            ),
            ("*", &["https://a.test", "https://10.0.0.1", "https://[fd12::1]"], &[]),
            ("a.test,*", &["https://10.0.0.1"], &[]),
            ("", &[], &["https://a.test"]),
            (",", &[], &["https://a.test"]),
            ("kube.test:port", &[], &["https://kube.test"]),
            // Never through a proxy: the machine itself, and the addresses at which AWS gives credentials.
            (
                "",
                &[
                    "https://127.0.0.1:6443",
                    "https://127.9.9.9",
                    "https://[::1]",
                    "https://localhost",
                    "https://LOCALHOST:1",
                    "https://[::ffff:127.0.0.1]",
                    "http://169.254.169.254/latest",
                    "http://169.254.170.2/credentials",
                    "http://169.254.170.23/v1/credentials",
                    "http://[fd00:ec2::23]/v1/credentials",
                    "http://[fd00:ec2::254]/latest",
                ],
                &[
                    "https://localhost.test",
                    "http://169.253.0.1",
                    "http://[fd00:ec3::1]",
                    "https://128.0.0.1",
                ],
            ),
        ] {
            let variables = [("ALL_PROXY", "http://proxy.test"), ("no_proxy", list)];
            for uri in direct {
                assert_eq!(through(&variables, uri), "", "{list:?}: {uri}");
            }
            for uri in proxied {
                assert_eq!(through(&variables, uri), "http://proxy.test/", "{list:?}: {uri}");
            }
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_without_its_password() {
        for (name, value, said) in [
            (
                "HTTPS_PROXY",
                "http://me:s3cret@proxy test",
                "HTTPS_PROXY is not the URL of a proxy",
            ),
            ("https_proxy", "http://", "https_proxy is not the URL"),
            ("HTTP_PROXY", "/s3cret", "HTTP_PROXY is not the URL"),
            (
                "ALL_PROXY",
                "socks5://me:s3cret@proxy.test",
                "ALL_PROXY names a proxy of a kind",
            ),
            (
                "HTTPS_PROXY",
                "ftp://me:s3cret@proxy.test",
                "give the URL of an http:// or https:// proxy",
            ),
        ] {
            let refused = proxies(&[(name, value)]).unwrap_err().to_string();
            assert!(refused.contains(said), "{value}: {refused}");
            assert!(!refused.contains("s3cret"), "{refused}");
        }
        assert!(url("proxy-url", "socks5://proxy.test", HTTP_OR_SOCKS).is_ok());
        let secret = proxies(&[("ALL_PROXY", "http://me:s3cret@proxy.test")]).unwrap();
        assert!(!format!("{secret:?}").contains("s3cret"));
    }
}
