//! What a process is told: a configuration file read into a tree that knows its lines, and checked.
//!
//! A [`Document`] is YAML 1.2, parsed into [`Node`]s that remember where they stand. [`Document::interpolate`] fills in
//! variables, in values only. [`Document::read`] walks the tree: the program asks a [`Section`] for the keys that it
//! knows, as checked types, and whatever is wrong is collected into [`Diagnostics`], all of it in one pass. This crate
//! knows no key and no name of any particular program.
//!
//! Types come from the question, never from the look of a value: `no` asked for as text is the text `no`, `1.10` is
//! `1.10`, and `"10s"` is as good a duration as `10s`. Booleans are `true` and `false`, as in the YAML 1.2 core schema.
//!
//! ```
//! use std::time::Duration;
//! use wellkept_config::{Diagnostics, Document};
//!
//! struct Settings {
//!     name: String,
//!     interval: Duration,
//! }
//!
//! fn read(text: &str) -> Result<Settings, Diagnostics> {
//!     Document::parse("app.yaml", text)?.read(|section| {
//!         // Ask for every key first, give up afterwards: so all errors are found at once.
//!         let name = section.required("name");
//!         let interval = section.or("interval", Duration::from_secs(10));
//!         section.complete();
//!         Some(Settings { name: name?, interval })
//!     })
//! }
//!
//! let settings = read("name: orders\ninterval: 250ms").unwrap();
//! assert_eq!((settings.name.as_str(), settings.interval.as_millis()), ("orders", 250));
//!
//! let wrong = read("name: orders\nintervall: 10").err().unwrap();
//! assert_eq!(wrong.to_string(), "app.yaml:2:1: unknown key `intervall`, did you mean `interval`?");
//! ```
//!
//! What is refused, with line and column: invalid YAML, a key given twice, a key that is not text, merge keys (`<<`),
//! tags, more than one document, an empty file, control characters, text that is not UTF-8, and anything beyond
//! [`MAX_FILE_BYTES`], [`MAX_DEPTH`], [`MAX_NODES`] or [`MAX_TEXT_BYTES`]. Anchors and aliases are expanded within
//! these limits. Every reason has a stable code, listed in [`codes`].

mod conceal;
mod content;
mod control;
#[cfg(feature = "derive")]
#[doc(hidden)]
pub mod derived;
mod diagnostics;
mod diff;
mod document;
mod excerpt;
mod flags;
mod from_node;
mod interpolate;
mod live;
mod locate;
mod named;
mod origin;
mod outcome;
mod parse;
mod record;
mod reference;
mod schema;
mod secret;
mod section;
mod settings;
mod sources;
mod tree;
mod versions;
mod watch;

pub use content::{Content, ContentHash, ContentHashError, Part};
pub use control::{Answer, Control, Imprint, Running, Shown, ShownValue, ViewError, Which};
pub use diagnostics::{Diagnostic, Diagnostics, MAX_DIAGNOSTICS, codes, nearest, quoted};
pub use diff::{MAX_DIFF_LINES, diff};
pub use document::{Document, LoadError, read_regular};
pub use flags::{BUCKETS, Flag, FlagBoard, FlagState, FlagValue, Flags, MAX_FLAG_KEYS, Rollout, VariantState, bucket};
pub use from_node::quantity::{Amount, ByteSize, Ratio};
pub use from_node::{FromNode, one_of, word_of};
pub use live::{
    CachedHandle, Changes, Handle, Judge, Live, LiveOptions, Prepared, Probation, Reading, Refusal, ReloadStats,
    Subscriber, Subscription,
};
pub use locate::{LocateError, Located, Locations, NamedBy};
pub use origin::Origin;
pub use outcome::{Effect, Effects, Intent, Outcome, Rejection, Report, Request};
pub use parse::{MAX_DEPTH, MAX_FILE_BYTES, MAX_NODES, MAX_TEXT_BYTES};
pub use reference::{Entry, Presence, Reference, Shape, describe, json_schema};
pub use schema::Schema;
pub use secrecy;
pub use secret::MAX_SECRET_BYTES;
pub use section::Section;
pub use settings::Settings;
pub use sources::{Assignment, AssignmentError, MAX_CONTENT_BYTES, MAX_FILES, Source, Sources};
pub use tree::{Key, Node, Position, Scalar, Style, Value};
pub use versions::{
    Kept, MAX_VERSIONS_BYTES, MemoryVersions, OutcomeKind, StoreFault, Trigger, Version, VersionId, VersionStore,
    forgotten,
};
pub use watch::{Look, Told, WatchOptions, Watched, Watching};
#[cfg(feature = "derive")]
pub use wellkept_config_derive::{Settings, Words};
