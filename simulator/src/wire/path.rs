//! Request paths as AWS reads them: dot segments are removed before routing, because the SDKs do the same when they
//! sign. So an environment named `..` changes the operation.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The characters that a signature escapes in a query: all except the unreserved ones.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The same for a path, in which the slash is not escaped.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// Removes empty segments and dot segments. Keeps a trailing slash.
pub(crate) fn normalise(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if kept.is_empty() || path.ends_with('/') {
        normal.push('/');
    }
    normal
}

/// Returns the decoded segments of a path; `None` if one is not UTF-8.
pub(crate) fn segments(path: &str) -> Option<Vec<String>> {
    normalise(path)
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(decode)
        .collect()
}

/// Decodes percent encoding.
pub(crate) fn decode(text: &str) -> Option<String> {
    percent_decode_str(text)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

/// Percent-encodes text for a signature's canonical query.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Percent-encodes text for a signature's canonical path: once more than in the request.
pub(crate) fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, RESERVED_IN_PATH).to_string()
}

/// Returns the decoded pairs of a query string or of a form body.
pub(crate) fn pairs(query: &str, plus_is_space: bool) -> Option<Vec<(String, String)>> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if plus_is_space {
                Some((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
            } else {
                Some((decode(name)?, decode(value)?))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_and_double_slashes_are_removed() {
        for (path, normal) in [
            ("", "/"),
            ("/", "/"),
            ("/apps", "/apps"),
            ("/apps/", "/apps/"),
            ("//apps///d1", "/apps/d1"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/apps/d1/backendenvironments/..", "/apps/d1"),
            ("/backend/d1/environments/../remove", "/backend/d1/remove"),
            ("/backend/d1/job/%2E%2E", "/backend/d1/job/%2E%2E"),
        ] {
            assert_eq!(normalise(path), normal, "{path}");
        }
    }

    #[test]
    fn an_encoded_slash_stays_in_its_segment() {
        assert_eq!(
            segments("/apps/d1/backendenvironments/a%2Fb%20c"),
            Some(vec![
                "apps".into(),
                "d1".into(),
                "backendenvironments".into(),
                "a/b c".into()
            ])
        );
        assert_eq!(segments("/apps/%ff"), None);
    }

    #[test]
    fn form_bodies_decode_plus_and_queries_do_not() {
        assert_eq!(
            pairs("a=b+c&d", true),
            Some(vec![("a".into(), "b c".into()), ("d".into(), String::new())])
        );
        assert_eq!(pairs("a=b+c%26", false), Some(vec![("a".into(), "b+c&".into())]));
    }
}
