//! Logs on stderr, as text or as one JSON object per line.

use std::{env::VarError, fmt, io::IsTerminal as _, str::FromStr};

use tracing::{
    Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::RecordFields,
    filter::{ParseError, filter_fn},
    fmt::{FormatFields, MakeWriter, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use super::error::in_words;
use crate::api::text::escaped;

/// The filter unless `RUST_LOG` is set: our lines from info on, and only problems of libraries. The start and the watches
/// log their problems themselves, once while a problem stays the same. kube would log them with each retry.
const DEFAULT_FILTER: &str = "info,kube=warn,kube_client::client::builder=off,kube_runtime::watcher=error,aws_config=error,aws_runtime=warn,aws_smithy_runtime=warn,\
                              aws_smithy_http_client=warn,hyper=warn,hyper_util=warn,rustls=warn,tower=warn";

/// The format of log lines.
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

/// An error in setting up the logs.
#[derive(Debug, thiserror::Error)]
pub enum LogSetup {
    /// `RUST_LOG` cannot be read.
    #[error(
        "RUST_LOG is {0:?}: {1}. Give a level (error, warn, info, debug, trace, off) or a list such as info,amplify_operator=debug"
    )]
    Filter(String, &'static str),
    /// Logs are set up already.
    #[error(transparent)]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up the program's logs, once. `RUST_LOG` is the filter. If it is unset or blank, the filter is `info` with quiet
/// libraries.
pub fn init(format: Format) -> Result<(), LogSetup> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(text) => filter(&text)?,
        Err(VarError::NotPresent) => filter("")?,
        Err(VarError::NotUnicode(text)) => {
            return Err(LogSetup::Filter(text.display().to_string(), "it is not UTF-8 text"));
        }
    };
    let is_coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = layer(format, is_coloured, std::io::stderr);
    let lines = lines.with_filter(filter_fn(is_harmless));
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    Ok(())
}

/// Whether a line may be written whatever the filter says. At level trace the AWS SDK logs whole answers, with the
/// variables of apps and the secrets of backends. Its warnings about settings repeat what stands in a variable or in a
/// line of the credentials file.
fn is_harmless(line: &Metadata<'_>) -> bool {
    let is_of = |crates: &[&str]| crates.iter().any(|name| line.target().starts_with(name));
    if is_of(&["aws_config", "aws_runtime"]) {
        *line.level() == Level::ERROR
    } else {
        !is_of(&["aws_"]) || *line.level() < Level::TRACE
    }
}

/// Parses a filter. A misspelt filter must not silently become another one.
fn filter(text: &str) -> Result<EnvFilter, LogSetup> {
    let refused = |why| LogSetup::Filter(text.to_owned(), why);
    let directives: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if directives.is_empty() {
        return EnvFilter::try_new(DEFAULT_FILTER).map_err(|_: ParseError| refused("it cannot be read"));
    }
    // A single word that is no level would be a crate's name: everything of this crate would be logged, and nothing of
    // others.
    let is_word = |part: &str| {
        part.chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ':' | '.'))
    };
    if directives
        .iter()
        .any(|part| is_word(part) && part.parse::<LevelFilter>().is_err())
    {
        return Err(refused(
            "a word without = in it must be a level (for a crate write, say, kube=debug)",
        ));
    }
    EnvFilter::try_new(directives.join(",")).map_err(|_: ParseError| refused("it cannot be read"))
}

/// Makes the layer that writes the lines.
fn layer<S, W>(format: Format, is_coloured: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(is_coloured)
        .with_writer(writer);
    match format {
        Format::Text => lines.fmt_fields(TextFields).boxed(),
        // The JSON format escapes by itself.
        Format::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

/// Fields in the text format: the message alone, other fields as `name=value`.
///
/// Messages and fields contain text from other sources. Such text must neither begin a new line nor control a terminal.
struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = TextLine {
            writer,
            is_empty: true,
            result: Ok(()),
        };
        fields.record(&mut line);
        line.result
    }
}

struct TextLine<'w> {
    writer: Writer<'w>,
    is_empty: bool,
    result: fmt::Result,
}

impl TextLine<'_> {
    fn add(&mut self, name: &str, value: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_empty) {
            self.writer.write_char(' ')?;
        }
        match (name, self.writer.has_ansi_escapes()) {
            ("message", _) => {}
            (name, true) => write!(self.writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?,
            (name, false) => write!(self.writer, "{name}=")?,
        }
        self.writer.write_str(&escaped(value))
    }
}

impl Visit for TextLine<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Fields that begin with `log.` name the source of a library's line. The line itself has it already.
        if self.result.is_ok() && !field.name().starts_with("log.") {
            self.result = self.add(field.name(), &format!("{value:?}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{}", in_words(value)));
    }
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
    fn a_filter_is_levels_and_crates_with_levels() {
        for text in [
            "",
            " ",
            ",",
            "debug",
            "INFO",
            " debug ",
            "info, amplify_operator=debug,",
            "off",
            "3",
            "kube=trace",
            "amplify_operator[pass{kind=x}]=debug,warn",
        ] {
            assert!(filter(text).is_ok(), "{text:?}: {:?}", filter(text).err());
        }
        assert_eq!(filter(" debug ").unwrap().to_string(), "debug");
        for text in [
            "verbose",
            "info,verbose",
            "kube",
            "warning",
            "a=b",
            "info=info=info",
            "a=verbose",
        ] {
            let refused = filter(text).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("RUST_LOG is {text:?}: ")), "{refused}");
            assert!(refused.contains("such as info,amplify_operator=debug"), "{refused}");
        }
    }

    /// A writer that keeps the lines.
    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Returns the log output of a message, fields of every kind and spans that all hold this text.
    fn logged(format: Format, is_coloured: bool, text: &str) -> String {
        let lines = Lines::default();
        let written = lines.clone();
        let subscriber = tracing_subscriber::registry().with(layer(format, is_coloured, move || lines.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let outer = tracing::info_span!("outer", display = %text, debug = ?text, plain = text, later = tracing::field::Empty);
            let _entered = outer.enter();
            outer.record("later", tracing::field::display(text));
            let error = std::io::Error::other(text.to_owned());
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(display = %text, debug = ?text, plain = text, number = 7, error, "{text}");
        });
        let bytes = written.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn no_text_of_others_begins_a_line_or_steers_a_terminal() {
        for hostile in [
            "line one\n2026-01-01T00:00:00Z  INFO forged",
            "\r\n2026-01-01T00:00:00Z  INFO forged",
            "\u{1b}[2J\u{1b}]0;title\u{7}",
            "\u{9b}31m",
            "\u{85}\u{2028}\u{2029}\u{b}\u{c}\u{8}\u{0}\u{7f}",
            "\u{202e}gnp.exe",
        ] {
            let text = logged(Format::Text, false, hostile);
            let line = text.strip_suffix('\n').unwrap();
            let unsafe_characters: Vec<_> = line
                .chars()
                .filter(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}'))
                .collect();
            assert!(unsafe_characters.is_empty(), "{text:?}");
            // A terminal gets our colours and no other escape sequences.
            let plain = logged(Format::Text, true, "harmless");
            let coloured = logged(Format::Text, true, hostile);
            assert_eq!(
                coloured.matches('\u{1b}').count(),
                plain.matches('\u{1b}').count(),
                "{coloured:?}"
            );
            assert_eq!(coloured.lines().count(), 1, "{coloured:?}");

            let json = logged(Format::Json, false, hostile);
            let line = json.strip_suffix('\n').unwrap();
            assert!(!line.contains(|c: char| c < ' '), "{json:?}");
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["message"], hostile);
            assert_eq!(value["span"]["plain"], hostile);
        }
    }

    #[test]
    fn a_line_of_text_is_what_it_was() {
        let text = logged(Format::Text, false, "plain text");
        assert!(
            text.ends_with(
                " WARN outer{display=plain text debug=\"plain text\" plain=\"plain text\" later=plain text}: \
                 amplify_operator::telemetry::logs::tests: plain text display=plain text debug=\"plain text\" \
                 plain=\"plain text\" number=7 error=plain text\n"
            ),
            "{text}"
        );
    }
}
