//! Logs on stderr, as text or as one JSON object per line.

use std::{fmt, io::IsTerminal as _, str::FromStr};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// What is logged unless `RUST_LOG` says otherwise: ours from info on, of the libraries only what is wrong.
const DEFAULT_FILTER: &str = "info,kube=warn,aws_config=warn,aws_runtime=warn,aws_smithy_runtime=warn,\
                              aws_smithy_http_client=warn,hyper=warn,hyper_util=warn,rustls=warn,tower=warn";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object per line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is not a log format: text or json")),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Logs that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogSetup {
    /// `RUST_LOG` cannot be read.
    #[error("RUST_LOG: {0}")]
    Filter(#[from] tracing_subscriber::filter::FromEnvError),
    /// Logs are set up already.
    #[error(transparent)]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up the program's logs, once. `RUST_LOG` is the filter; unset or empty, it is `info` with quiet libraries.
pub fn init(format: Format) -> Result<(), LogSetup> {
    // A misspelt filter must not silently become another one.
    let filter = if std::env::var_os(EnvFilter::DEFAULT_ENV).is_none_or(|value| value.is_empty()) {
        EnvFilter::new(DEFAULT_FILTER)
    } else {
        EnvFilter::try_from_default_env()?
    };
    let is_coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(is_coloured)
        .with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => registry.with(lines).try_init()?,
        Format::Json => registry
            .with(lines.json().flatten_event(true).with_span_list(false))
            .try_init()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_text_or_json_and_prints_as_it_is_read() {
        for format in [Format::Text, Format::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("xml".parse::<Format>().is_err());
    }

    #[test]
    fn every_part_of_the_default_filter_is_a_valid_directive() {
        assert!(EnvFilter::try_new(DEFAULT_FILTER).is_ok());
    }
}
