//! Feature flags: what a configuration switches for whom. A flag is declared in code, with its type and what holds
//! where the configuration says nothing; the configuration turns it on for everybody, for a part of all keys, or for
//! keys by name.
//!
//! A flag's answer follows from its name, the key that is asked about and the configuration, and from nothing else: it
//! is the same in each process, on each machine and after each restart. `docs/flags.md` has the algorithm, with which
//! other languages come to the same answers.

use std::fmt;
use std::marker::PhantomData;

use crate::section::Section;

pub use board::{FlagBoard, FlagState, VariantState};
pub use rollout::{BUCKETS, Rollout, bucket};

mod board;
mod read;
mod rollout;

/// Most keys that one flag names.
pub const MAX_FLAG_KEYS: usize = 10_000;

/// A type that a flag answers with: `bool`, or an enum of variants.
///
/// ```
/// use wellkept_config::FlagValue;
///
/// #[derive(Debug, Clone, Copy, PartialEq, Eq)]
/// enum Layout {
///     Classic,
///     Cards,
/// }
///
/// impl FlagValue for Layout {
///     const WORDS: &'static [(&'static str, Self)] = &[("classic", Self::Classic), ("cards", Self::Cards)];
/// }
/// ```
pub trait FlagValue: Copy + PartialEq + Send + Sync + 'static {
    /// The variants and what a configuration calls them, in the order in which they get their shares of the keys. A
    /// share that grows moves the ones behind it, so that what is rolled out next belongs at the end. At most 255.
    const WORDS: &'static [(&'static str, Self)];

    /// For a type that is off or on: these two, in this order. It is written `true`, `false` or `25%`.
    const SWITCH: Option<[Self; 2]> = None;
}

impl FlagValue for bool {
    const WORDS: &'static [(&'static str, Self)] = &[("false", false), ("true", true)];
    const SWITCH: Option<[Self; 2]> = Some([false, true]);
}

/// One flag, as a configuration has it. Declared with [`flags!`](crate::flags!), or read with [`Flag::read`].
#[derive(Clone, PartialEq)]
pub struct Flag<V> {
    rollout: Rollout,
    otherwise: V,
    answers: PhantomData<fn() -> V>,
}

/// A section of flags, for whoever shows all of them. [`flags!`](crate::flags!) implements it.
pub trait Flags: Send + Sync + 'static {
    /// Each of them.
    fn rollouts(&self) -> Vec<&Rollout>;
}

impl<V: FlagValue> Flag<V> {
    /// A flag that answers the same to everybody, as it does where the configuration does not name it.
    pub fn fixed(name: &'static str, value: V) -> Self {
        Self { rollout: Rollout::fixed(name, words::<V>(), index_of(value)), otherwise: value, answers: PhantomData }
    }

    /// Reads the flag under the key `name`; `otherwise` holds where the key is absent. `None` when something is wrong,
    /// which is reported.
    pub fn read(section: &mut Section<'_>, name: &'static str, otherwise: V) -> Option<Self> {
        let rollout = read::rollout::<V>(section, name, otherwise)?;
        Some(Self { rollout, otherwise, answers: PhantomData })
    }

    /// The value for `key`: whom or what the flag is asked about, such as a tenant, a user or a session. Neither blocks
    /// nor allocates; it takes some nanoseconds, and one more for each byte of a long key.
    pub fn of(&self, key: &str) -> V {
        self.value(self.rollout.answer(key))
    }

    /// The value for whoever has no key: what holds for everybody who is in no share and has no entry of its own.
    pub fn of_nobody(&self) -> V {
        self.value(self.rollout.answer_without_key())
    }

    /// What it does for whom.
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    fn value(&self, variant: u8) -> V {
        V::WORDS.get(usize::from(variant)).map_or(self.otherwise, |(_, value)| *value)
    }
}

impl Flag<bool> {
    /// Whether it is on for `key`, as [`of`](Self::of).
    pub fn is_on(&self, key: &str) -> bool {
        self.of(key)
    }
}

impl<V: FlagValue> fmt::Debug for Flag<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rollout.fmt(formatter)
    }
}

/// What a configuration calls the variants.
fn words<V: FlagValue>() -> Box<[&'static str]> {
    const { assert!(V::WORDS.len() < 256, "a flag has at most 255 variants") };
    V::WORDS.iter().map(|(word, _)| *word).collect()
}

/// Which of the words a value is; beyond all of them for one that has no word.
fn index_of<V: FlagValue>(value: V) -> u8 {
    let index = V::WORDS.iter().position(|(_, one)| *one == value);
    index.and_then(|index| u8::try_from(index).ok()).unwrap_or(u8::MAX)
}

/// Declares a section of flags: a struct with a [`Flag`](crate::Flag) for each, its
/// [`Settings`](crate::Settings), its `Default` (every flag as declared) and its [`Flags`](crate::Flags).
///
/// A line is `field("name in the configuration"): type = value where the configuration says nothing`. The name decides,
/// together with the key, who is in a share: a flag whose name stays keeps its share when its field is renamed.
///
/// ```
/// use wellkept_config::{Document, Settings, flags};
///
/// flags! {
///     /// What the shop switches.
///     pub struct Switches {
///         /// The checkout on one page.
///         new_checkout("new-checkout"): bool = false,
///     }
/// }
///
/// let read = |text| Document::parse("shop.yaml", text)?.read(Switches::read);
/// assert!(read("new-checkout: true").unwrap().new_checkout.is_on("tenant-a"));
/// assert!(!Switches::default().new_checkout.is_on("tenant-a"));
///
/// let wrong = read("new-chekout: true").unwrap_err();
/// assert_eq!(wrong.to_string(), "shop.yaml:1:1: unknown key `new-chekout`, did you mean `new-checkout`?");
/// ```
#[macro_export]
macro_rules! flags {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident {
            $($(#[doc = $text:literal])+ $field:ident($key:literal): $value:ty = $otherwise:expr),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        $visibility struct $name {
            $($(#[doc = $text])+ pub $field: $crate::Flag<$value>,)+
        }

        impl ::core::default::Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::Flag::fixed($key, $otherwise),)+ }
            }
        }

        impl $crate::Settings for $name {
            fn read(section: &mut $crate::Section<'_>) -> ::core::option::Option<Self> {
                section.describe(&[$(($key, ::core::concat!($($text),+).trim()),)+]);
                $(let $field = $crate::Flag::read(section, $key, $otherwise);)+
                section.complete();
                ::core::option::Option::Some(Self { $($field: $field?,)+ })
            }
        }

        impl $crate::Flags for $name {
            fn rollouts(&self) -> ::std::vec::Vec<&$crate::Rollout> {
                ::std::vec![$(self.$field.rollout(),)+]
            }
        }
    };
}

#[cfg(test)]
mod tests;
