//! Page sizes and tokens. A token is opaque to clients; it contains the position of the next page.

use crate::{config::Settings, wire::reply::AwsError};

/// The token that always leads to the first page again.
const REPEATED: &str = "cmVwZWF0ZWQtdG9rZW4";

/// Returns the length of a page: the size in the request or the default, limited by the settings.
pub(super) fn length(settings: &Settings, wanted: Option<i64>, default: usize) -> usize {
    let wanted = wanted
        .and_then(|wanted| usize::try_from(wanted).ok())
        .filter(|wanted| *wanted > 0)
        .unwrap_or(default);
    settings.page_size.map_or(wanted, |cap| wanted.min(cap.max(1)))
}

/// Returns the position in a token, if there is a token.
pub(super) fn start(token: Option<&str>) -> Result<Option<String>, AwsError> {
    match token {
        None | Some("" | REPEATED) => Ok(None),
        Some(token) => decode(token)
            .map(Some)
            .ok_or_else(|| AwsError::bad_request("Invalid nextToken")),
    }
}

/// Returns the token of the next page, if there is one.
pub(super) fn token(settings: &Settings, next: Option<&str>) -> Option<String> {
    if settings.repeat_page_token {
        return Some(REPEATED.to_owned());
    }
    next.map(|place| {
        let digits = place.bytes().map(|byte| format!("{byte:02x}"));
        std::iter::once("n.".to_owned()).chain(digits).collect()
    })
}

fn decode(token: &str) -> Option<String> {
    let digits = token.strip_prefix("n.")?.as_bytes();
    let bytes = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_the_place_it_was_made_from() {
        let settings = Settings::default();
        for place in ["dev", "a/b", "17", "ü"] {
            let token = token(&settings, Some(place)).unwrap();
            assert_eq!(start(Some(&token)).unwrap().as_deref(), Some(place));
        }
        assert_eq!(start(None), Ok(None));
        assert_eq!(start(Some("bogus")).unwrap_err().code, "BadRequestException");
        assert_eq!(start(Some("n.zz")).unwrap_err().code, "BadRequestException");
        assert_eq!(super::token(&settings, None), None);
    }

    #[test]
    fn a_repeated_token_starts_over() {
        let settings = Settings {
            repeat_page_token: true,
            ..Settings::default()
        };
        let token = token(&settings, None).unwrap();
        assert_eq!(start(Some(&token)), Ok(None));
    }

    #[test]
    fn pages_are_as_long_as_asked_for_but_never_longer_than_the_cap() {
        let mut settings = Settings::default();
        assert_eq!(length(&settings, None, 25), 25);
        assert_eq!(length(&settings, Some(0), 25), 25);
        assert_eq!(length(&settings, Some(3), 25), 3);
        settings.page_size = Some(1);
        assert_eq!(length(&settings, Some(3), 25), 1);
    }
}
