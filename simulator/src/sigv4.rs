//! Checks AWS Signature Version 4 as AWS does: over the path with dot segments removed. Pure.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::wire::{path, reply::AwsError};

/// The contents of an `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub(crate) access_key_id: String,
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
    signed_headers: Vec<String>,
    signature: String,
}

/// The signed parts of a request.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

impl Authorization {
    /// Parses the header. Refusals are AWS's own.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, AwsError> {
        let Some(header) = headers.get("authorization") else {
            return Err(AwsError::new(
                403,
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
            ));
        };
        header
            .to_str()
            .ok()
            .and_then(Self::parse)
            .ok_or_else(|| incomplete("Authorization header requires 'Credential', 'SignedHeaders' and 'Signature'."))
    }

    fn parse(header: &str) -> Option<Self> {
        let claims = header.strip_prefix("AWS4-HMAC-SHA256")?;
        let claim = |name: &str| {
            claims.split(',').find_map(|part| {
                let (key, value) = part.trim().split_once('=')?;
                (key == name).then_some(value)
            })
        };
        let scope: Vec<&str> = claim("Credential")?.split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = scope[..] else {
            return None;
        };
        Some(Self {
            access_key_id: access_key_id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers: claim("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: claim("Signature")?.to_owned(),
        })
    }

    /// Checks the signature with the secret, and the time of signing.
    pub(crate) fn verify(&self, request: &Signed<'_>, secret: &str, now: i64, max_skew: i64) -> Result<(), AwsError> {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let Some((time, signed_at)) = header("x-amz-date").and_then(|time| Some((time, instant(time)?))) else {
            return Err(incomplete(
                "Authorization header requires existence of a 'X-Amz-Date' header.",
            ));
        };
        if !time.starts_with(&self.date) {
            return Err(invalid(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP",
            ));
        }
        if (now - signed_at).abs() > max_skew {
            return Err(invalid(&format!("Signature expired or not yet current: {time}")));
        }
        // A header that is not signed could be changed on the way. These three must be signed.
        for name in ["host", "x-amz-date", "x-amz-security-token"] {
            if request.headers.contains_key(name) && !self.signed_headers.iter().any(|signed| signed == name) {
                return Err(invalid(&format!(
                    "'{name}' must be a 'SignedHeader' in the AWS Authorization."
                )));
            }
        }
        let key = signing_key(secret, &self.date, &self.region, &self.service);
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        let payload = hex(&Sha256::digest(request.body));
        let query = canonical_query(request.query);
        let headers = self.canonical_headers(request.headers);
        let names = self.signed_headers.join(";");
        let matches = canonical_paths(request.path).into_iter().any(|path| {
            let canonical = format!("{}\n{path}\n{query}\n{headers}\n{names}\n{payload}", request.method);
            let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
            hex(&mac(&key, to_sign.as_bytes())) == self.signature
        });
        if matches {
            return Ok(());
        }
        Err(invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details.",
        ))
    }

    fn canonical_headers(&self, headers: &HeaderMap) -> String {
        let mut canonical = String::new();
        for name in &self.signed_headers {
            let values: Vec<String> = headers
                .get_all(name)
                .iter()
                .map(|value| {
                    String::from_utf8_lossy(value.as_bytes())
                        .split_ascii_whitespace()
                        .collect::<Vec<_>>()
                        .join(" ")
                })
                .collect();
            canonical.push_str(name);
            canonical.push(':');
            canonical.push_str(&values.join(","));
            canonical.push('\n');
        }
        canonical
    }
}

/// Returns the forms of a path that a client may have signed. SDKs differ only in the slash after a removed last
/// segment.
fn canonical_paths(raw: &str) -> Vec<String> {
    let normal = path::normalise(raw);
    let mut forms = vec![path::encode_path(&normal)];
    if normal != raw {
        let trimmed = normal.trim_end_matches('/');
        forms.push(path::encode_path(trimmed));
        forms.push(path::encode_path(&format!("{trimmed}/")));
    }
    forms
}

fn canonical_query(raw: &str) -> String {
    let mut pairs: Vec<(String, String)> = raw
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let again = |text: &str| path::decode(text).map_or_else(|| text.to_owned(), |text| path::encode(&text));
            (again(name), again(value))
        })
        .collect();
    pairs.sort();
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> Vec<u8> {
    [date, region, service, "aws4_request"]
        .iter()
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| {
            mac(&key, part.as_bytes())
        })
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC accepts keys of any length, so the error cannot occur. An empty result matches no signature.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        },
    )
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Parses `20261122T100000Z` into milliseconds since the epoch.
fn instant(text: &str) -> Option<i64> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(
        time.to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_millisecond(),
    )
}

fn invalid(message: &str) -> AwsError {
    AwsError::new(403, "InvalidSignatureException", message)
}

fn incomplete(message: &str) -> AwsError {
    AwsError::new(403, "IncompleteSignatureException", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const NOW: i64 = 1_440_938_160_000;

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("host", "example.amazonaws.com".parse().unwrap());
        headers.insert("x-amz-date", "20150830T123600Z".parse().unwrap());
        headers.insert("authorization", authorization.parse().unwrap());
        headers
    }

    fn check(path: &str, query: &str, signature: &str, secret: &str, now: i64) -> Result<(), String> {
        let headers = headers(&format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={signature}"
        ));
        let request = Signed {
            method: "GET",
            path,
            query,
            headers: &headers,
            body: b"",
        };
        Authorization::read(&headers)
            .and_then(|claims| claims.verify(&request, secret, now, 300_000))
            .map_err(|error| error.code)
    }

    #[test]
    fn the_vectors_of_the_aws_test_suite_verify() {
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        for (path, query, signature) in [
            ("/", "", vanilla),
            ("/./", "", vanilla),
            ("/example/..", "", vanilla),
            ("//", "", vanilla),
            (
                "/",
                "Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
        ] {
            assert_eq!(check(path, query, signature, SECRET, NOW), Ok(()), "{path}?{query}");
        }
    }

    #[test]
    fn another_secret_path_query_or_hour_is_refused() {
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        let refused = Err("InvalidSignatureException".to_owned());
        assert_eq!(check("/", "", vanilla, "other", NOW), refused);
        assert_eq!(check("/a", "", vanilla, SECRET, NOW), refused);
        assert_eq!(check("/", "a=b", vanilla, SECRET, NOW), refused);
        assert_eq!(check("/", "", vanilla, SECRET, NOW + 3_600_000), refused);
    }

    #[test]
    fn a_header_without_claims_is_incomplete() {
        for header in [
            "",
            "Bearer x",
            "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=x",
        ] {
            let error = Authorization::read(&headers(header)).unwrap_err();
            assert_eq!(error.code, "IncompleteSignatureException", "{header}");
        }
        let error = Authorization::read(&HeaderMap::new()).unwrap_err();
        assert_eq!(
            (error.status, error.code.as_str()),
            (403, "MissingAuthenticationTokenException")
        );
    }
}
