//! The variables and addresses that people give for AWS. Pure: checks them, and says how a request goes.
//!
//! The SDK panics on some of them, and the errors of others show whole requests.

use http::Uri;

use super::regions;
use crate::{
    api::text::clean,
    proxy::{gives_credentials, has_usable_port, is_loopback},
};

/// The variables of keys. The SDK writes them into headers, and panics on a character that no header can hold.
const KEYS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// The variables of the region, in the order in which the SDK reads them.
const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// The variables of the place in the pod that gives credentials. The SDK's errors show their values, and for whoever
/// can reach that place, the path may be all that is needed.
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";

/// Why a variable cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadVariable {
    /// A variable holds a key that cannot be one. The key is not shown.
    #[error("{0} {NO_KEY}. A file written with echo ends with a line break: write it with printf")]
    Key(&'static str),
    /// A variable names no region.
    #[error("{variable}: {why}")]
    Region {
        /// The variable.
        variable: &'static str,
        /// The problem, and a correct value.
        why: String,
    },
    /// A variable names no place that gives credentials. The value is not shown.
    #[error(
        "{FULL} must be an https:// URL, or http:// to this machine (localhost) or to 169.254.170.2, 169.254.170.23 or [fd00:ec2::23]: no credentials are taken from elsewhere"
    )]
    Place,
    /// A variable holds no path of the ECS agent. The value is not shown.
    #[error("{RELATIVE} is not a path that begins with /: leave it to ECS, which sets it")]
    Path,
}

/// Why no request is sent to an address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadEndpoint {
    /// Others on the way could read and change the request. Only the host: the rest may hold a password.
    #[error(
        "http://{0} is plain HTTP, so others on the way can read and change the requests: give an https:// endpoint, or, on a network that you trust, set --allow-plain-http"
    )]
    PlainHttp(String),
    /// It is no address for HTTP. The SDK would panic, or show the request in its error. The text is not shown: it may
    /// hold a password.
    #[error("it is not of the form https://HOST or https://HOST:PORT: give such a URL, without quotes and blanks")]
    NotHttp,
}

/// What is wrong with a key.
pub(super) const NO_KEY: &str = "holds a line break, a blank or another character that no key has: set it again";

/// Whether this can be an access key, a secret key or a session token.
pub(super) fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Checks the variables that the SDK takes as they are.
pub(super) fn check_variables(variable: impl Fn(&str) -> Option<String>) -> Result<(), BadVariable> {
    let is_no_key = |name: &&'static str| variable(name).is_some_and(|key| !is_key(&key));
    if let Some(name) = KEYS.into_iter().find(|name| is_no_key(name)) {
        return Err(BadVariable::Key(name));
    }
    for name in REGIONS {
        let region = variable(name).filter(|region| !region.trim().is_empty());
        // A region that this version does not know may be allowed, and resources may name another one.
        let refused = region.filter(|region| !regions::is_name(region));
        if let Some(why) = refused.and_then(|region| regions::refusal(&region, &[])) {
            return Err(BadVariable::Region { variable: name, why });
        }
    }
    let is_path = |text: &str| text.starts_with('/') && text.parse::<Uri>().is_ok();
    if variable(RELATIVE).is_some_and(|path| !is_path(&path)) {
        return Err(BadVariable::Path);
    }
    if variable(FULL).is_some_and(|url| !gives_container_credentials(&url)) {
        return Err(BadVariable::Place);
    }
    Ok(())
}

/// Whether the SDK takes the credentials of a container from this URL: it has the same rule.
fn gives_container_credentials(url: &str) -> bool {
    const AGENTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let is_there = match uri.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => is_loopback(host) || AGENTS.contains(&host),
        _ => false,
    };
    is_there && has_usable_port(&uri)
}

/// Refuses an address that is not HTTP, and one in plain HTTP on another machine, unless that is allowed. Where AWS
/// gives credentials, it is always plain HTTP, and the SDK itself accepts only certain addresses.
pub(super) fn check_url(url: &str, allows_plain_http: bool) -> Result<(), BadEndpoint> {
    let uri = url.parse::<Uri>().map_err(|_| BadEndpoint::NotHttp)?;
    let host = uri.host().unwrap_or_default();
    let is_plain = match uri.scheme_str() {
        Some("https") => false,
        Some("http") => true,
        _ => return Err(BadEndpoint::NotHttp),
    };
    if host.is_empty() || !has_usable_port(&uri) {
        return Err(BadEndpoint::NotHttp);
    }
    if !is_plain || allows_plain_http || is_loopback(host) || gives_credentials(host) {
        Ok(())
    } else {
        Err(BadEndpoint::PlainHttp(clean(host)))
    }
}

/// Names the host of a request and its proxy. No more of their URLs: they may hold a password.
pub(super) fn way(uri: &Uri, proxy: Option<&Uri>) -> String {
    let place = |uri: &Uri| {
        let host = uri.host().unwrap_or_default();
        uri.port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    };
    match proxy {
        None => place(uri),
        Some(proxy) => format!("{} through the proxy {}", place(uri), place(proxy)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_the_machine_unless_it_is_allowed() {
        for (url, is_allowed) in [
            ("https://amplify.eu-west-1.amazonaws.com/apps", true),
            ("http://127.0.0.1:4601", true),
            ("http://127.1.2.3", true),
            ("http://[::1]:4601/x", true),
            ("http://localhost:4601", true),
            ("HTTP://LOCALHOST", true),
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://169.254.169.254/latest/api/token", true),
            ("http://amplify-simulator:4601", false),
            ("HTTP://aws.test", false),
            ("http://localhost.test", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0:4601", false),
            ("http://127.0.0.1.evil.test", false),
            ("http://me:s3cret@aws.test/x", false),
        ] {
            let checked = check_url(url, false);
            assert_eq!(checked.is_ok(), is_allowed, "{url}");
            assert_eq!(check_url(url, true), Ok(()), "{url}");
            let said = checked.err().map(|refused| refused.to_string()).unwrap_or_default();
            assert!(!said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn an_endpoint_is_a_url_for_http_and_a_refused_one_is_not_shown() {
        for url in [
            "",
            " ",
            "s3cret.eu-west-1.amazonaws.com",
            "s3cret.test:443",
            "10.0.0.1",
            "/s3cret",
            "https:/s3cret",
            "https://",
            "https:///s3cret",
            "https://s3cret.test:port",
            "https://s3cret.test:99999",
            "https://s3cret b",
            " https://s3cret.test",
            "https://s3cret.test\n",
            "\"https://s3cret.test\"",
            "'https://s3cret.test'",
            "ftp://s3cret.test",
            "//s3cret.test",
        ] {
            let refused = check_url(url, true);
            assert_eq!(refused, Err(BadEndpoint::NotHttp), "{url:?}");
            assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");
        }
        for url in ["https://a.test:8443/path", "https://[fd00::1]:8443", "http://a.test:80"] {
            assert_eq!(check_url(url, true), Ok(()), "{url}");
        }
    }

    #[test]
    fn keys_and_regions_that_cannot_be_such_are_refused_by_the_name_of_their_variable_without_the_key() {
        for (name, value, said) in [
            ("AWS_ACCESS_KEY_ID", "AKIA0123", None),
            ("AWS_SECRET_ACCESS_KEY", "s3cret/+=", None),
            (
                "AWS_ACCESS_KEY_ID",
                "s3cret\n",
                Some("AWS_ACCESS_KEY_ID holds a line break"),
            ),
            (
                "AWS_SECRET_ACCESS_KEY",
                " s3cret",
                Some("AWS_SECRET_ACCESS_KEY holds a"),
            ),
            ("AWS_SESSION_TOKEN", "s3cretä", Some("AWS_SESSION_TOKEN holds a")),
            ("AWS_SESSION_TOKEN", "s3\rcret", Some("AWS_SESSION_TOKEN holds a")),
            ("AWS_REGION", "eu-west-1", None),
            ("AWS_REGION", "eu-new-1", None),
            ("AWS_REGION", "", None),
            (
                "AWS_REGION",
                "Ireland",
                Some("AWS_REGION: \"Ireland\" is not an AWS region"),
            ),
            (
                "AWS_DEFAULT_REGION",
                "eu-west-1\n",
                Some("AWS_DEFAULT_REGION: \"eu-west-1\" with a blank or a line break"),
            ),
            ("AWS_PROFILE", "any thing", None),
            (RELATIVE, "/v2/credentials/s3cret", None),
            (
                RELATIVE,
                "v2/credentials/s3cret",
                Some("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not a path"),
            ),
            (
                RELATIVE,
                "/s3cret\n",
                Some("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not a path"),
            ),
            (FULL, "http://169.254.170.23/v1/credentials", None),
            (FULL, "http://[fd00:ec2::23]/v1/credentials", None),
            (FULL, "http://localhost:4000/s3cret", None),
            (FULL, "https://agent.test/s3cret", None),
            (
                FULL,
                "http://agent.test/s3cret",
                Some("AWS_CONTAINER_CREDENTIALS_FULL_URI must be an https:// URL"),
            ),
            (
                FULL,
                "s3cret.test/x",
                Some("AWS_CONTAINER_CREDENTIALS_FULL_URI must be an https:// URL"),
            ),
            (
                FULL,
                "http://169.254.170.22/s3cret",
                Some("AWS_CONTAINER_CREDENTIALS_FULL_URI must be an https:// URL"),
            ),
        ] {
            let checked = check_variables(|asked| (asked == name).then(|| value.to_owned()));
            let text = checked.err().map(|refused| refused.to_string());
            match said {
                None => assert_eq!(text, None, "{name} {value:?}"),
                Some(said) => {
                    let text = text.unwrap_or_default();
                    assert!(text.starts_with(said) && !text.contains("s3"), "{text}");
                }
            }
        }
    }

    #[test]
    fn the_way_of_a_request_names_host_and_proxy_without_a_password() {
        let uri: Uri = "https://amplify.eu-west-1.amazonaws.com/apps?s3cret".parse().unwrap();
        let proxy: Uri = "http://me:s3cret@proxy.test:3128".parse().unwrap();
        assert_eq!(way(&uri, None), "amplify.eu-west-1.amazonaws.com");
        assert_eq!(
            way(&uri, Some(&proxy)),
            "amplify.eu-west-1.amazonaws.com through the proxy proxy.test:3128"
        );
    }
}
