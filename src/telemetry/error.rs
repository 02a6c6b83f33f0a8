//! Writes an error as text, with each of its causes once. Pure.

use std::error::Error;

use kube::{client::AuthError, config::KubeconfigError};

use crate::api::text;

/// Longest text, in bytes. What a server or a proxy answers may be a whole page.
const LONGEST: usize = 4096;

/// Returns the text of an error and its causes, each once.
///
/// Some libraries repeat the text of the cause in the text of an error, others do not. A chain of both kinds would
/// repeat some causes. Where an error's own text must not be shown, its place is taken by other words, also in the texts
/// that repeat it.
#[must_use]
pub fn in_words(error: &(dyn Error + 'static)) -> String {
    text::shortened(&whole(error), LONGEST).into_owned()
}

fn whole(error: &(dyn Error + 'static)) -> String {
    let links: Vec<_> =
        std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source()).collect();
    let masked = links
        .iter()
        .enumerate()
        .find_map(|(place, link)| Some((place, other_words(*link)?)));
    let Some((place, shown)) = masked else {
        return joined(links.iter().map(ToString::to_string));
    };
    let hidden = [format!("{:?}", links[place]), links[place].to_string()];
    let above = links[..place].iter().map(|link| {
        let hidden = hidden.iter().filter(|text| !text.is_empty());
        hidden.fold(link.to_string(), |text, hidden| text.replace(hidden, &shown))
    });
    // What is below would tell what is hidden.
    joined(above.chain([shown.clone()]))
}

fn joined(texts: impl Iterator<Item = String>) -> String {
    let mut words = String::new();
    for text in texts {
        if text.is_empty() || words.contains(&text) {
            // Already in the text.
        } else if words.is_empty() {
            words = text;
        } else if let Some(start) = repeated_start(&words, &text) {
            words.replace_range(start.., &text);
        } else {
            words.push_str(": ");
            words.push_str(&text);
        }
    }
    words
}

/// Returns the words for an error whose own text must not be shown: kube's text of a failed credentials plugin has its
/// arguments, its environment and its output, with tokens; its text of a refusal has the whole answer twice; a parser
/// prints the lines of a kubeconfig around a mistake.
fn other_words(error: &(dyn Error + 'static)) -> Option<String> {
    let plugin = |why: &str| {
        format!(
            "the credentials plugin (exec) of the kubeconfig's user {why}: run it by hand, or log in again, as for kubectl"
        )
    };
    match error.downcast_ref::<AuthError>() {
        Some(AuthError::AuthExecRun { out, .. }) => return Some(plugin(&format!("failed ({})", out.status))),
        Some(AuthError::AuthExecStart(why)) => return Some(plugin(&format!("cannot be started ({why})"))),
        Some(AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed) => {
            return Some(plugin("printed something else than an ExecCredential"));
        }
        // Some of its texts have the command or its output.
        Some(AuthError::AuthExec(_)) => {
            return Some("the auth-provider of the kubeconfig's user failed: log in again, as for kubectl".to_owned());
        }
        _ => {}
    }
    if let Some(KubeconfigError::Parse(why)) = error.downcast_ref() {
        let place = why.location().map_or_else(String::new, |place| {
            format!(" (line {}, column {})", place.line(), place.column())
        });
        return Some(format!("failed to parse kubeconfig YAML{place}"));
    }
    let kube::Error::Api(status) = error.downcast_ref()? else {
        return None;
    };
    Some(match status.message.as_str() {
        "" => format!("the API server answers {} {}", status.code, status.reason),
        message => message.to_owned(),
    })
}

/// Returns where an end part of `words` begins that is also the beginning of `cause`.
fn repeated_start(words: &str, cause: &str) -> Option<usize> {
    let parts = words.match_indices(": ").map(|(at, separator)| at + separator.len());
    parts.chain([0]).find(|start| cause.starts_with(&words[*start..]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Self>>);

    impl std::fmt::Display for Link {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &(dyn Error + 'static))
        }
    }

    fn chain(texts: &[&'static str]) -> Link {
        let (first, rest) = texts.split_first().unwrap();
        Link(first, (!rest.is_empty()).then(|| Box::new(chain(rest))))
    }

    #[test]
    fn a_page_in_an_answer_is_not_repeated_whole() {
        let page: &'static str = "x".repeat(1 << 20).leak();
        let text = in_words(&chain(&["ApiError", page]));
        assert!(
            text.len() <= LONGEST && text.starts_with("ApiError: x"),
            "{}",
            text.len()
        );
    }

    #[test]
    fn each_cause_is_said_once() {
        for (texts, words) in [
            (&["a"][..], "a"),
            (&["a", "b", "c"], "a: b: c"),
            (&["a: b: c", "b: c", "c"], "a: b: c"),
            (
                &["no way", "cannot read (x: gone)", "x: gone", "gone"],
                "no way: cannot read (x: gone)",
            ),
            (
                &["no way", "client error", "client error: refused"],
                "no way: client error: refused",
            ),
            (&["client error", "client error: refused"], "client error: refused"),
            (&["a", "", "b"], "a: b"),
        ] {
            assert_eq!(in_words(&chain(texts)), words, "{texts:?}");
        }
    }

    /// An error that shows its cause, as kube's do.
    #[derive(Debug, thiserror::Error)]
    enum Above {
        #[error("watch failed: {0}")]
        Watch(#[source] kube::Error),
        #[error("said twice: {0} ({0:?})")]
        Debug(#[source] kube::Error),
    }

    const SECRET: &str = "s3cret";

    fn failed() -> AuthError {
        let out = std::process::Output {
            status: std::os::unix::process::ExitStatusExt::from_raw(3 << 8),
            stdout: b"{\"token\": \"s3cret\"}".to_vec(),
            stderr: b"s3cret".to_vec(),
        };
        AuthError::AuthExecRun {
            cmd: format!("PASSWORD={SECRET} plugin --password {SECRET}"),
            out: Box::new(out),
        }
    }

    #[test]
    fn what_a_credentials_plugin_was_given_and_has_printed_is_never_repeated() {
        let refreshed = || kube::Error::Service(Box::new(failed()));
        let provider = AuthError::AuthExec(format!("Executing {SECRET} failed"));
        let errors: [Box<dyn Error>; 7] = [
            Box::new(failed()),
            Box::new(kube::Error::Auth(failed())),
            Box::new(refreshed()),
            Box::new(Above::Watch(refreshed())),
            Box::new(Above::Debug(refreshed())),
            Box::new(kube::Error::Service(Box::new(Above::Watch(
                kube::Error::Auth(failed()),
            )))),
            Box::new(kube::Error::Auth(provider)),
        ];
        for error in errors {
            assert!(error.to_string().contains(SECRET), "else it proves nothing: {error}");
            let said = in_words(error.as_ref());
            assert!(!said.contains(SECRET), "{said}");
            assert!(said.contains("failed") && said.contains("log in again"), "{said}");
        }
        let in_context = anyhow::Error::new(refreshed()).context("no list");
        let said = in_words(in_context.as_ref());
        assert!(said.starts_with("no list: ") && !said.contains(SECRET), "{said}");
        assert!(said.contains("failed (exit status: 3)"), "{said}");
    }

    #[test]
    fn a_refusal_is_said_once_in_the_api_servers_words() {
        let refusal = |message: &str| {
            let status = json!({ "code": 503, "message": message, "reason": "ServiceUnavailable" });
            kube::Error::Api(serde_json::from_value(status).unwrap())
        };
        for (error, words) in [
            (Above::Watch(refusal("too busy")), "watch failed: too busy"),
            (
                Above::Watch(refusal("")),
                "watch failed: the API server answers 503 ServiceUnavailable",
            ),
        ] {
            assert_eq!(in_words(&error), words);
        }
    }

    #[test]
    fn a_kubeconfig_that_cannot_be_parsed_is_not_quoted() {
        let error = kube::config::Kubeconfig::from_yaml("users: [{name: a, user: {token: [s3cret]}}]").unwrap_err();
        let said = in_words(&kube::Error::InferKubeconfig(error));
        assert!(
            said.contains("failed to parse kubeconfig YAML (line 1, column ") && !said.contains(SECRET),
            "{said}"
        );
    }
}
