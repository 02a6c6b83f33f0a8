//! Reads: get, list with pages, and the start of a watch. Pure.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    refusal::Refusal,
    request::{Options, Request},
    state::{Caller, Done, State},
    store::{Key, Object, Page},
    watch::{Cursor, metadata_of},
};

/// The state that a list shows.
enum Shown {
    /// The newest state.
    Newest,
    /// The state of the cache, as soon as it is as new as the request asks for.
    Cached,
    /// The state of a revision, starting after a key.
    At(u64, Option<Key>),
}

impl State {
    pub(super) fn get(&self, caller: &Caller, request: &Request) -> Result<Done, Refusal> {
        let revision = match request.options.resource_version.as_str() {
            "" => self.store.revision(),
            given => {
                let asked = version("resourceVersion", given).map_err(|it| Refusal::blunder(it.message))?;
                self.not_in_the_future(asked)?;
                // The cache answers as soon as it is as new as this revision.
                caller.cached.max(asked)
            }
        };
        let object = self.store.get_at(&Self::key(request), revision);
        let object = object.cloned().ok_or_else(|| self.not_found(request))?;
        Ok(if request.metadata_only {
            Done::Body(metadata_of(&object).to_string().into_bytes())
        } else {
            Done::Object(200, object)
        })
    }

    pub(super) fn list(&self, caller: &Caller, request: &Request) -> Result<Done, Refusal> {
        let options = &request.options;
        let shown = self.shown(request, options)?;
        let namespace = request.namespace.as_deref();
        let (revision, after, limit) = match shown {
            Shown::Newest => (self.store.revision(), None, options.limit),
            Shown::Cached => {
                let asked = number(&options.resource_version);
                // An answer from the cache at any version has no pages.
                let limit = if asked == 0 { 0 } else { options.limit };
                (caller.cached.max(asked), None, limit)
            }
            Shown::At(revision, after) => (revision, after, options.limit),
        };
        if revision < self.store.compacted() {
            let first = Key::new(request.resource, namespace, "");
            let mut refusal = Refusal::expired(if options.continue_token.is_empty() {
                format!("The resourceVersion for the provided list is too old: {revision}")
            } else {
                "The provided continue parameter is too old to display a consistent list result".to_owned()
            });
            if !options.continue_token.is_empty() {
                // -1: the list continues with the newest state.
                refusal.continue_token = Some(token(-1, after.as_ref().unwrap_or(&first)));
            }
            return Err(refusal);
        }
        let page = self
            .store
            .list(request.resource, namespace, revision, after.as_ref(), limit);
        Ok(Done::Body(self.body(request, revision, &page)))
    }

    fn shown(&self, request: &Request, options: &Options) -> Result<Shown, Refusal> {
        let given = options.resource_version.as_str();
        if !options.continue_token.is_empty() {
            if !options.version_match.is_empty() {
                return Err(bad_match("resourceVersionMatch is forbidden when continue is provided"));
            }
            if !matches!(given, "" | "0") {
                return Err(Refusal::bad_request(
                    "specifying resource version is not allowed when using continue".to_owned(),
                ));
            }
            let (revision, after) = self.read_token(request, &options.continue_token)?;
            return Ok(Shown::At(revision, Some(after)));
        }
        match (options.version_match.as_str(), given) {
            ("", "") => return Ok(Shown::Newest),
            (_, "") => {
                return Err(bad_match(
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            ("Exact", "0") => {
                return Err(bad_match(
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
            ("" | "NotOlderThan" | "Exact", _) => {}
            _ => return Err(bad_match("resourceVersionMatch must be Exact or NotOlderThan")),
        }
        let asked = version("resourceVersion", given)?;
        self.not_in_the_future(asked)?;
        let exact = options.version_match == "Exact" || (options.version_match.is_empty() && options.limit > 0);
        Ok(if asked > 0 && exact {
            Shown::At(asked, None)
        } else {
            Shown::Cached
        })
    }

    fn not_in_the_future(&self, asked: u64) -> Result<(), Refusal> {
        let current = self.store.revision();
        if asked <= current {
            return Ok(());
        }
        let mut refusal = Refusal::timeout(format!("Too large resource version: {asked}, current: {current}"));
        refusal.retry_after = Some(1);
        Err(refusal)
    }

    fn body(&self, request: &Request, revision: u64, page: &Page) -> Vec<u8> {
        let resource = self.table.get(request.resource);
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if let Some((last, left)) = &page.more {
            metadata["continue"] = token(i128::from(revision), last).into();
            metadata["remainingItemCount"] = (*left).into();
        }
        let (api_version, kind) = if request.metadata_only {
            ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned())
        } else {
            (resource.api_version(), format!("{}List", resource.kind))
        };
        let mut body =
            format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{kind}\",\"metadata\":{metadata},\"items\":[");
        for (at, object) in page.objects.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let item = self.item(request, object);
            // Writing to a String cannot fail.
            let _ = match item {
                Some(item) => write!(body, "{comma}{item}"),
                None => write!(body, "{comma}{object}"),
            };
        }
        body.push_str("]}");
        body.into_bytes()
    }

    /// Returns the object in its form as an item of a list, if that form differs.
    fn item(&self, request: &Request, object: &Object) -> Option<Value> {
        if request.metadata_only {
            return Some(metadata_of(object));
        }
        if self.table.get(request.resource).is_custom() {
            return None;
        }
        // Items of other kinds have no apiVersion and kind.
        let mut item = Value::clone(object);
        if let Some(item) = item.as_object_mut() {
            item.remove("apiVersion");
            item.remove("kind");
        }
        Some(item)
    }

    pub(super) fn watch(&self, caller: &Caller, request: &Request) -> Result<Cursor, Refusal> {
        let options = &request.options;
        if !options.continue_token.is_empty() || !options.version_match.is_empty() {
            return Err(Refusal::new(
                422,
                "Invalid",
                "continue and resourceVersionMatch are forbidden for watch".to_owned(),
            ));
        }
        let asked = match options.resource_version.as_str() {
            "" => 0,
            given => version("resourceVersion", given).map_err(|it| Refusal::blunder(it.message))?,
        };
        let begin = |revision| {
            Cursor::new(request.resource, request.namespace.clone(), revision).with(
                request.metadata_only,
                options.bookmarks,
                options.timeout_seconds,
            )
        };
        if asked == 0 {
            let revision = if options.resource_version.is_empty() {
                self.store.revision()
            } else {
                caller.cached
            };
            let page = self
                .store
                .list(request.resource, request.namespace.as_deref(), revision, None, 0);
            return Ok(begin(revision).beginning_with(page.objects));
        }
        let oldest = self.store.compacted().max(self.cache_begins);
        if asked < oldest {
            let message = format!("too old resource version: {asked} ({oldest})");
            return Ok(begin(asked).refused(Refusal::expired(message)));
        }
        Ok(begin(asked))
    }

    /// Parses a token: the revision of the list, and the position at which to continue.
    fn read_token(&self, request: &Request, given: &str) -> Result<(u64, Key), Refusal> {
        let wrong = || Refusal::bad_request("continue key is not valid".to_owned());
        let mut bytes = Vec::with_capacity(given.len() / 2);
        if !given.is_ascii() {
            return Err(wrong());
        }
        for at in (0..given.len()).step_by(2) {
            let digits = given.get(at..at + 2).ok_or_else(wrong)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong())?;
        let (revision, path) = text.split_once(' ').ok_or_else(wrong)?;
        let key = Key {
            resource: request.resource,
            path: path.into(),
        };
        match revision.parse::<i64>().map_err(|_| wrong())? {
            -1 => Ok((self.store.revision(), key)),
            revision => Ok((u64::try_from(revision).map_err(|_| wrong())?, key)),
        }
    }
}

/// Returns a token for the position at which a list continues. Only the model reads it.
fn token(revision: i128, last: &Key) -> String {
    let mut token = String::new();
    for byte in format!("{revision} {}", last.path).bytes() {
        // Writing to a String cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    token
}

fn bad_match(why: &str) -> Refusal {
    Refusal::new(422, "Invalid", why.to_owned())
}

fn version(what: &str, given: &str) -> Result<u64, Refusal> {
    given
        .parse()
        .map_err(|_| Refusal::bad_request(format!("{what}: Invalid value: {given:?}")))
}

fn number(given: &str) -> u64 {
    given.parse().unwrap_or_default()
}
