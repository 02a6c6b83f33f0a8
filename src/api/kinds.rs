//! The kinds: their only list. Pure.

/// Passes the names of all kinds to the macro `with`, in the order in which they are defined, started and listed. A
/// kind to which other kinds refer comes before them.
macro_rules! kinds {
    ($with:ident) => {
        $with! { AmplifyBackend, BackendApi, BackendStorage, BackendEnvironment }
    };
}
pub(crate) use kinds;

macro_rules! kind_names {
    ($($kind:ident),+) => {
        /// The name of a kind.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum KindName {
            $(
                #[doc = concat!("`", stringify!($kind), "`")]
                $kind,
            )+
        }

        impl KindName {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// Returns the kind's name as in manifests, logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)+
                }
            }
        }
    };
}
kinds!(kind_names);

impl KindName {
    /// Returns the kind with its article, for a sentence.
    #[must_use]
    pub fn one(self) -> String {
        let name = self.name();
        let article = if name.starts_with(['A', 'E', 'I', 'O', 'U']) {
            "an"
        } else {
            "a"
        };
        format!("{article} {name}")
    }
}
