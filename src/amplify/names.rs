//! Names that become parts of URLs. They are parsed before anything is sent. Pure.
//!
//! This is a safety rule: the SDK leaves dots in paths unchanged, so an environment named `..` would turn
//! `DeleteBackend`'s path into `RemoveAllBackends` and `DeleteBackendEnvironment`'s into `DeleteApp`.

use std::{fmt, str::FromStr};

use crate::{
    api::conditions::truncated,
    lifecycle::facts::{Class, Failure, Sent},
};

/// How many bytes of a refused name the message repeats.
const SHOWN: usize = 64;

/// A refused name. The message says what the name is for, and which names are allowed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{given:?} is not {what}: allowed are {allowed}")]
pub struct InvalidName {
    given: String,
    what: &'static str,
    allowed: &'static str,
}

impl From<InvalidName> for Failure {
    fn from(invalid: InvalidName) -> Self {
        Self {
            class: Class::BadRequest,
            sent: Sent::Never,
            message: invalid.to_string(),
        }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $valid:path, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if $valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName {
                        given: truncated(text, SHOWN).to_owned(),
                        what: $what,
                        allowed: $allowed,
                    })
                }
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(text: &str) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The ID of an Amplify app, such as `d1a2b3c4d5e6f7`.
    AppId,
    "an Amplify app ID",
    is_app_id,
    "d and then 1 to 19 lowercase letters and digits"
);
name!(
    /// The name of a backend environment.
    EnvironmentName,
    "a backend environment name",
    is_plain,
    "1 to 255 letters, digits, _ and -, a letter or digit first"
);
name!(
    /// The name of a resource in a backend, such as its GraphQL API.
    ResourceName,
    "a resource name",
    is_plain,
    "1 to 255 letters, digits, _ and -, a letter or digit first"
);
name!(
    /// The ID of an AWS job. It comes from AWS, but becomes part of a URL.
    JobId,
    "a job ID",
    is_plain,
    "1 to 255 letters, digits, _ and -, a letter or digit first"
);

/// Whether the text matches `^d[a-z0-9]{1,19}$`.
fn is_app_id(text: &str) -> bool {
    text.strip_prefix('d').is_some_and(|rest| {
        (1..=19).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    })
}

/// Whether the text matches `^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$`.
fn is_plain(text: &str) -> bool {
    text.len() <= 255
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_id_is_d_and_up_to_nineteen_lowercase_letters_and_digits() {
        for good in ["d1", "d1a2b3c4d5e6f7", &format!("d{}", "a".repeat(19))] {
            assert_eq!(good.parse::<AppId>().unwrap().as_str(), good);
        }
        let long = format!("d{}", "a".repeat(20));
        for bad in ["", "d", "D1", "x1", "d1A", "d1-", "d1/", "d..", "dé", "d1\n", &long] {
            assert!(bad.parse::<AppId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_change_a_path_are_refused_by_every_kind_of_name() {
        let long = "a".repeat(256);
        for bad in [
            "", ".", "..", "a/b", "a%2Fb", "a b", "a\n", "_a", "-a", "é", "a.b", "a?b", "a#b", "a\\b", &long,
        ] {
            assert!(bad.parse::<EnvironmentName>().is_err(), "{bad:?}");
            assert!(bad.parse::<ResourceName>().is_err(), "{bad:?}");
            assert!(bad.parse::<JobId>().is_err(), "{bad:?}");
        }
        let longest = "a".repeat(255);
        for good in [
            "a",
            "0f3c-11",
            "Staging_1",
            "7d8d5a5e-6b0a-4a8e-9a39-0c2f35a1f0aa",
            &longest,
        ] {
            assert!(good.parse::<EnvironmentName>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn the_refusal_says_what_is_wrong_and_what_is_allowed_without_repeating_everything() {
        let refused = EnvironmentName::try_from("..").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "\"..\" is not a backend environment name: allowed are 1 to 255 letters, digits, _ and -, a letter or digit first"
        );
        let failure = Failure::from(JobId::try_from("../".repeat(1000).as_str()).unwrap_err());
        assert_eq!((failure.class, failure.sent), (Class::BadRequest, Sent::Never));
        assert!(failure.message.len() < 256, "{}", failure.message);
    }
}
