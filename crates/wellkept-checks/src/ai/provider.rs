//! The providers: where they are, what they are asked, and in which header the key goes.

use url::Url;
use wellkept_config::{FromNode, Schema, one_of};

/// Whose API is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Google's, with a key of AI Studio.
    Gemini,
    /// `OpenAI`'s, and what is compatible with it.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// An Ollama of one's own.
    Ollama,
    /// A vLLM of one's own.
    Vllm,
    /// A `LiteLLM` proxy of one's own.
    LiteLlm,
}

const WORDS: [(&str, Provider); 6] = [
                ("gemini", Provider::Gemini),
                ("openai", Provider::OpenAi),
                ("anthropic", Provider::Anthropic),
                ("ollama", Provider::Ollama),
                ("vllm", Provider::Vllm),
                ("litellm", Provider::LiteLlm),
            ];

impl FromNode for Provider {
    const EXPECTED: &'static str = "gemini, openai, anthropic, ollama, vllm or litellm";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
    }
}

impl Provider {
    pub(super) fn usual_url(self) -> Url {
        let url = match self {
            Self::Gemini => "https://generativelanguage.googleapis.com",
            Self::OpenAi => "https://api.openai.com",
            Self::Anthropic => "https://api.anthropic.com",
            Self::Ollama => "http://127.0.0.1:11434",
            Self::Vllm => "http://127.0.0.1:8000",
            Self::LiteLlm => "http://127.0.0.1:4000",
        };
        url.parse().expect("these are URLs")
    }

    /// The one question that costs no token.
    pub(super) fn question(self, base: &Url, model: Option<&str>, has_key: bool) -> Url {
        let mut path = match self {
            Self::Gemini => vec!["v1beta", "models"],
            Self::Ollama => vec!["api", "tags"],
            Self::LiteLlm if !has_key && model.is_none() => vec!["health", "readiness"],
            _ => vec!["v1", "models"],
        };
        // The others list them all, and have names with slashes.
        if self.has_page_of_model() {
            path.extend(model);
        }
        let mut url = joined(base, &path);
        match self {
            Self::Gemini if model.is_none() => url.set_query(Some("pageSize=1")),
            Self::Anthropic if model.is_none() => url.set_query(Some("limit=1")),
            _ => {}
        }
        url
    }

    /// Whether a model is asked for by its own path.
    pub(super) fn has_page_of_model(self) -> bool {
        matches!(self, Self::Gemini | Self::OpenAi | Self::Anthropic)
    }

    /// Whether it is run by whoever asks, so that nobody else's load explains that it is not ready.
    pub(super) fn is_own(self) -> bool {
        matches!(self, Self::Ollama | Self::Vllm | Self::LiteLlm)
    }

    pub(super) fn header(self, key: &str) -> (&'static str, String) {
        match self {
            Self::Gemini => ("x-goog-api-key", key.to_owned()),
            Self::Anthropic => ("x-api-key", key.to_owned()),
            Self::OpenAi | Self::Ollama | Self::Vllm | Self::LiteLlm => ("authorization", format!("Bearer {key}")),
        }
    }
}

/// A path below the one that a URL has, of which a `v1` at its end is not said twice.
pub(super) fn joined(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    let version = base.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let is_versioned = matches!(version.as_str(), "v1" | "v1beta");
    let path = if is_versioned && path.first() == Some(&version.as_str()) { path.get(1..).unwrap_or_default() } else { path };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty();
        if is_versioned && path == ["metrics"] {
            segments.pop();
        }
        segments.extend(path);
    }
    url
}
