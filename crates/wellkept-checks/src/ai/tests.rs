//! What providers answer, replayed by a small server: the statuses, headers and error bodies that their documentation
//! shows. No provider was asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::testing::{PLANTED, assert_keeps_secrets, configured, reason, run};

/// Replays documented answers by path, and tells each request's head and body.
struct Replay {
    url: Url,
    heads: mpsc::UnboundedReceiver<String>,
    answers: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Replay {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let answers = Arc::<Mutex<BTreeMap<String, String>>>::default();
        let (tell, heads) = mpsc::unbounded_channel();
        let replayed = Arc::clone(&answers);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
                stream.read_exact(&mut body).await.unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let answer = replayed.lock().unwrap().get(&path).cloned();
                let answer = answer.unwrap_or_else(|| of(404, "", "{}"));
                let _ = tell.send(head + std::str::from_utf8(&body).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, heads, answers }
    }

    fn answers(&self, path: &str, answer: String) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn check(&self, provider: Provider, model: Option<&str>) -> Ai {
        let options = Options {
            url: Some(self.url.clone()),
            key: Some(PLANTED.into()),
            model: model.map(ToOwned::to_owned),
            ..Options::new(provider)
        };
        Ai::new(options).unwrap()
    }
}

fn of(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} S\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

/// A quota failure as Google documents it.
fn gemini_quota(id: &str, value: &str, delay: &str) -> String {
    let error = serde_json::json!({ "error": {
        "code": 429, "message": "You exceeded your current quota.", "status": "RESOURCE_EXHAUSTED", "details": [
            { "@type": "type.googleapis.com/google.rpc.QuotaFailure",
              "violations": [{ "quotaMetric": "m", "quotaId": id, "quotaValue": value }] },
            { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay },
        ],
    } });
    of(429, "", &error.to_string())
}

#[tokio::test]
async fn refusals_are_told_apart_as_the_providers_document_them() {
    use Provider::{Anthropic, Gemini, LiteLlm, Ollama, OpenAi, Vllm};
    let gemini_key = r#"{"error":{"code":400,"message":"API key not valid: hunter2-planted","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#;
    let openai_key = r#"{"error":{"message":"Incorrect API key provided: hunter2-planted","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    let unpaid = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let rate = r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#;
    let spent = r#"{"type":"error","error":{"type":"rate_limit_error","details":{"error_code":"enforced_spend_limit_reached"}}}"#;
    let busy = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    for (provider, answer, why) in [
        (Gemini, of(400, "", gemini_key), "auth"),
        (Gemini, of(403, "", "{}"), "auth"),
        (Gemini, of(404, "", "{}"), "model_missing"),
        (Gemini, gemini_quota("GenerateRequestsPerMinutePerProject", "15", "34s"), "quota"),
        (Gemini, gemini_quota("GenerateRequestsPerDayPerProject", "50", "34s"), "day_quota"),
        (Gemini, gemini_quota("GenerateRequestsPerDayPerProject", "0", "34s"), "not_entitled"),
        (Gemini, of(402, "", "{}"), "budget"),
        (Gemini, of(503, "", r#"{"error":{"status":"UNAVAILABLE"}}"#), "overloaded"),
        (Gemini, of(400, "", r#"{"error":{"status":"FAILED_PRECONDITION"}}"#), "unexpected"),
        (OpenAi, of(401, "", openai_key), "auth"),
        (OpenAi, of(429, "", unpaid), "budget"),
        (OpenAi, of(429, "retry-after: 20\r\n", rate), "quota"),
        (OpenAi, of(500, "", "no JSON"), "unexpected"),
        (Anthropic, of(401, "", "{}"), "auth"),
        (Anthropic, of(429, "", spent), "budget"),
        (Anthropic, of(429, "retry-after: 12\r\n", "{}"), "quota"),
        (Anthropic, of(529, "", busy), "overloaded"),
        (Ollama, of(500, "", "{}"), "not_ready"),
        (Vllm, of(503, "", "{}"), "not_ready"),
        (LiteLlm, of(429, "", r#"{"error":{"type":"budget_exceeded","code":"429"}}"#), "budget"),
    ] {
        let replay = Replay::start().await;
        let check = replay.check(provider, Some("m"));
        for path in ["/v1beta/models/m", "/v1/models/m", "/v1/models", "/api/tags"] {
            replay.answers(path, answer.clone());
        }
        let outcome = run(&check).await;
        assert_eq!(reason(&outcome), why, "{provider:?}: {answer} {outcome:?}");
        let degraded = ["quota", "day_quota", "overloaded"].contains(&why);
        assert_eq!(outcome.verdict() == Verdict::Warn, degraded, "{outcome:?}");
        assert_keeps_secrets(&outcome);
        assert!(!outcome.message().contains('{') && !format!("{check:?}").contains(PLANTED));
    }
}

#[tokio::test]
async fn a_model_is_looked_for_without_a_token_and_the_key_is_in_a_header() {
    use Provider::{Anthropic, Gemini, LiteLlm, Ollama, OpenAi, Vllm};
    let listed = r#"{"object":"list","data":[{"id":"m"},{"id":"org/other"}]}"#;
    for (provider, path, body, header) in [
        (Gemini, "/v1beta/models/m", r#"{"name":"models/m"}"#, "x-goog-api-key"),
        (OpenAi, "/v1/models/m", r#"{"id":"m","object":"model"}"#, "authorization: Bearer"),
        (Anthropic, "/v1/models/m", r#"{"type":"model","id":"m"}"#, "x-api-key"),
        (Ollama, "/api/tags", r#"{"models":[{"name":"m:latest"}]}"#, "authorization"),
        (Vllm, "/v1/models", listed, "authorization"),
        (LiteLlm, "/v1/models", listed, "authorization"),
    ] {
        let mut replay = Replay::start().await;
        replay.answers(path, of(200, "", body));
        replay.answers("/metrics", of(200, "", ""));
        let outcome = run(&replay.check(provider, Some("m"))).await;
        assert_eq!(reason(&outcome), "pass", "{provider:?}: {outcome:?}");
        let head = replay.heads.recv().await.unwrap();
        let (first, rest) = head.split_once("\r\n").unwrap();
        assert_eq!(first, format!("GET {path} HTTP/1.1"), "{provider:?}");
        assert!(rest.contains(header) && rest.contains(PLANTED), "{head}");
        let missing = run(&replay.check(provider, Some("gone"))).await;
        assert_eq!(reason(&missing), "model_missing", "{provider:?}: {missing:?}");
        replay.answers(path, of(200, "", "<html>"));
        assert_eq!(reason(&run(&replay.check(provider, Some("m"))).await), "protocol", "{provider:?}");
    }
}

#[tokio::test]
async fn a_provider_that_asks_to_be_left_alone_is() {
    let mut replay = Replay::start().await;
    replay.answers("/v1beta/models?pageSize=1", gemini_quota("RequestsPerMinute", "15", "3000.5s"));
    let check = replay.check(Provider::Gemini, None);
    assert_eq!(run(&check).await.metadata()["retry_in_ms"], 3_000_500);
    replay.heads.recv().await.unwrap();
    replay.answers("/v1beta/models?pageSize=1", of(200, "", r#"{"models":[]}"#));
    let outcome = run(&check).await;
    assert_eq!(reason(&outcome), "quota");
    assert!(outcome.metadata()["retry_in_ms"].as_u64().unwrap() < 3_000_500);
    assert!(replay.heads.try_recv().is_err(), "it was asked all the same");
    *check.quiet.lock().unwrap() = Some((Instant::now(), outcome));
    assert_eq!(reason(&run(&check).await), "pass", "and asked again when its time is up");
}

#[tokio::test]
async fn an_engine_that_runs_requests_and_makes_no_token_hangs_although_it_answers() {
    let replay = Replay::start().await;
    replay.answers("/v1/models", of(200, "", r#"{"data":[{"id":"m"}]}"#));
    let metrics = |running: u32, tokens: u32| {
        let text = format!(
            "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{engine=\"0\",model_name=\"m\"}} {running}.0\n\
             vllm:prompt_tokens_total{{model_name=\"m\"}} 40.0\nvllm:generation_tokens_total{{model_name=\"m\"}} {tokens}.0\n"
        );
        replay.answers("/metrics", of(200, "", &text));
    };
    let options = Options { url: Some(replay.url.clone()), stalled_after: Duration::ZERO, ..Options::new(Provider::Vllm) };
    let patient = Ai::new(Options { stalled_after: Duration::from_secs(3600), ..options.clone() }).unwrap();
    metrics(3, 100);
    for _ in 0..2 {
        assert_eq!(reason(&run(&patient).await), "pass", "it may read a long prompt");
    }
    let progress = |running, tokens, progress: &mut Progress| {
        metrics(running, tokens);
        let body = replay.answers.lock().unwrap()["/metrics"].split_once("\r\n\r\n").unwrap().1.to_owned();
        let response = Response {
            status: crate::fetch::StatusCode::OK,
            headers: crate::fetch::header::HeaderMap::new(),
            body: body.into(),
            truncated: false,
            http2: false,
            not_after: None,
            trailers: crate::fetch::header::HeaderMap::new(),
        };
        reason(&progress.judge(Outcome::pass(), &response)).to_owned()
    };
    let mut seen = Progress::new(Duration::from_nanos(1));
    assert_eq!(progress(3, 100, &mut seen), "pass", "nothing is known of it yet");
    assert_eq!(progress(3, 100, &mut seen), "stalled");
    assert_eq!(progress(3, 101, &mut seen), "pass", "it gets on");
    assert_eq!(progress(0, 101, &mut seen), "pass", "it has nothing to do");
    assert_eq!(progress(1, 101, &mut seen), "stalled");
    assert_eq!(progress(1, 7, &mut seen), "pass", "it was started again");
}

#[tokio::test]
async fn what_the_applications_own_calls_say_counts_too() {
    let replay = Replay::start().await;
    replay.answers("/v1/models", of(200, "", r#"{"data":[]}"#));
    let check = replay.check(Provider::OpenAi, None);
    let calls = check.calls();
    for _ in 0..9 {
        calls.report(AiCall::Failed);
    }
    assert_eq!(reason(&run(&check).await), "pass", "nine calls say nothing");
    calls.report(AiCall::Limited);
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), outcome.message()), ("calls_failed", "most of the calls fail"));
    assert_eq!(outcome.metadata()["status"], 200);
    for _ in 0..10 {
        calls.report(AiCall::Answered);
    }
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["calls"]["total"]), ("quota", &20.into()));
    for _ in 0..5000 {
        calls.report(AiCall::Answered);
    }
    assert_eq!(run(&check).await.metadata()["calls"]["total"], 1000);
}

fn with_canary(replay: &Replay, provider: Provider, canary: Canary) -> Ai {
    let options = Options {
        url: Some(replay.url.clone()),
        key: Some(PLANTED.into()),
        model: Some("m".into()),
        canary: Some(canary),
        ..Options::new(provider)
    };
    Ai::new(options).unwrap()
}

/// As if a whole pause had passed.
fn make_due(check: &Ai) {
    check.completions.as_ref().unwrap().state().due = Instant::now();
}

/// The heads of the requests so far that are no questions.
fn completions(replay: &mut Replay) -> Vec<String> {
    std::iter::from_fn(|| replay.heads.try_recv().ok()).filter(|head| head.starts_with("POST ")).collect()
}

const ALL: [(Provider, &str, &str); 6] = [
    (Provider::Gemini, "/v1beta/models/m", r#"{"name":"models/m"}"#),
    (Provider::OpenAi, "/v1/models/m", r#"{"id":"m","object":"model"}"#),
    (Provider::Anthropic, "/v1/models/m", r#"{"type":"model","id":"m"}"#),
    (Provider::Ollama, "/api/tags", r#"{"models":[{"name":"m:latest"}]}"#),
    (Provider::Vllm, "/v1/models", r#"{"data":[{"id":"m"}]}"#),
    (Provider::LiteLlm, "/v1/models", r#"{"data":[{"id":"m"}]}"#),
];

#[tokio::test]
async fn a_canary_asks_for_one_token_when_it_is_due_and_tells_what_that_cost() {
    let openai = (
        "/v1/chat/completions",
        r#"{"model":"m","messages":[{"role":"user","content":"ping"}],"max_tokens":1}"#,
        r#"{"choices":[{"finish_reason":"length"}],"usage":{"prompt_tokens":8,"completion_tokens":1,"total_tokens":9}}"#,
    );
    for (provider, question, models) in ALL {
        let (path, body, answer) = match provider {
            Provider::Gemini => (
                "/v1beta/models/m:generateContent",
                r#"{"contents":[{"parts":[{"text":"ping"}]}],"generationConfig":{"maxOutputTokens":1}}"#,
                r#"{"candidates":[{"finishReason":"MAX_TOKENS"}],"usageMetadata":{"promptTokenCount":8,"totalTokenCount":9}}"#,
            ),
            Provider::Anthropic => (
                "/v1/messages",
                r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"ping"}]}"#,
                r#"{"type":"message","content":[],"stop_reason":"max_tokens","usage":{"input_tokens":8,"output_tokens":1}}"#,
            ),
            Provider::Ollama => (
                "/api/generate",
                r#"{"model":"m","prompt":"ping","stream":false,"options":{"num_predict":1}}"#,
                r#"{"response":"p","done":true,"prompt_eval_count":8,"eval_count":1}"#,
            ),
            _ => openai,
        };
        let mut replay = Replay::start().await;
        replay.answers(question, of(200, "", models));
        replay.answers("/metrics", of(200, "", ""));
        replay.answers(path, of(200, "", answer));
        let check = with_canary(&replay, provider, Canary::new(24));
        let outcome = run(&check).await;
        assert_eq!((reason(&outcome), completions(&mut replay)), ("pass", vec![]), "none is sent at the start");
        let told = &outcome.metadata()["canary"];
        assert!(told["next_in_ms"].as_u64().unwrap() > 3_590_000 && told["sent_total"] == 0, "{told}");

        make_due(&check);
        for _ in 0..3 {
            let outcome = run(&check).await;
            assert_eq!(reason(&outcome), "pass", "{provider:?}: {outcome:?}");
            let told = &outcome.metadata()["canary"];
            assert_eq!((&told["latest"], &told["tokens"], &told["tokens_total"]), (&"answered".into(), &9.into(), &9.into()));
        }
        let sent = completions(&mut replay);
        let [sent] = sent.as_slice() else { panic!("{provider:?}: {sent:?}") };
        assert!(sent.starts_with(&format!("POST {path} HTTP/1.1\r\n")) && sent.contains(PLANTED), "{sent}");
        assert_eq!(sent.split_once("\r\n\r\n").unwrap().1, body);
        assert!(!format!("{check:?}").contains(PLANTED));
    }
}

#[tokio::test]
async fn a_canary_that_fails_is_told_as_such_with_what_a_list_of_models_does_not_say() {
    let unpaid = r#"{"error":{"message":"You exceeded your current quota, hunter2-planted","code":"insufficient_quota"}}"#;
    let busy = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let in_a_minute = 59_000..=60_000;
    let in_an_hour = 3_590_000..=3_600_000;
    for (provider, path, answer, expected, next) in [
        (Provider::OpenAi, "/v1/chat/completions", of(429, "", unpaid), ("budget", "canary: the budget is empty"), &in_a_minute),
        (Provider::Anthropic, "/v1/messages", of(529, "", busy), ("overloaded", "canary: the provider is overloaded"), &in_a_minute),
        (Provider::OpenAi, "/v1/chat/completions", of(200, "", "{}"), ("protocol", "canary: not a completion of this provider's API"), &in_an_hour),
        (Provider::OpenAi, "/v1/chat/completions", String::new(), ("network", "canary: connection broken"), &in_an_hour),
    ] {
        let mut replay = Replay::start().await;
        replay.answers("/v1/models/m", of(200, "", r#"{"id":"m","type":"model"}"#));
        replay.answers(path, answer);
        let check = with_canary(&replay, provider, Canary::new(24));
        make_due(&check);
        for _ in 0..2 {
            let outcome = run(&check).await;
            assert_eq!((reason(&outcome), outcome.message()), expected, "{outcome:?}");
            assert_eq!(outcome.verdict() == Verdict::Warn, expected.0 == "overloaded");
            assert!(!outcome.message().contains(PLANTED) && outcome.metadata()["status"] == 200, "the list is there");
            let told = &outcome.metadata()["canary"];
            assert!(told["latest"] == expected.0 && next.contains(&told["next_in_ms"].as_u64().unwrap()), "{told}");
        }
        assert_eq!(completions(&mut replay).len(), 1, "what was found stands until the next one");
        replay.answers("/v1/models/m", of(401, "", "{}"));
        assert_eq!(run(&check).await.message(), "the key is not accepted", "and is not told where the question fails");
    }
}

#[tokio::test]
async fn no_canary_is_sent_while_the_applications_own_calls_are_answered_or_when_it_was_cut_off() {
    let mut replay = Replay::start().await;
    replay.answers("/v1/models/m", of(200, "", r#"{"id":"m"}"#));
    replay.answers("/v1/chat/completions", of(429, "", "{}"));
    let check = with_canary(&replay, Provider::OpenAi, Canary::new(24));
    make_due(&check);
    assert_eq!(reason(&run(&check).await), "quota");
    check.calls().report(AiCall::Answered);
    make_due(&check);
    assert_eq!(reason(&run(&check).await), "pass", "the application has more luck");
    assert_eq!(completions(&mut replay).len(), 1);

    let check = with_canary(&replay, Provider::OpenAi, Canary::new(24));
    make_due(&check);
    let completions_of = check.completions.as_ref().unwrap();
    assert!(completions_of.take_turn());
    assert!(!completions_of.take_turn(), "it may have cost as much");
    assert_eq!(run(&check).await.message(), "canary: no answer in time");
    assert!(completions(&mut replay).is_empty());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn no_day_has_more_completions_than_the_budget_however_often_the_process_starts(
        budget in 1_u32..6,
        uptimes in proptest::collection::vec(0_u64..30 * 3600, 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let sent = runtime.block_on(async {
            let (origin, mut sent) = (Instant::now(), Vec::new());
            for uptime in uptimes {
                let options = Options { model: Some("m".into()), canary: Some(Canary::new(budget)), ..Options::new(Provider::Ollama) };
                let check = Ai::new(options).unwrap();
                for _ in 0..=uptime / 600 {
                    if check.completions.as_ref().unwrap().take_turn() {
                        sent.push(origin.elapsed());
                    }
                    tokio::time::advance(Duration::from_secs(600)).await;
                }
            }
            sent
        });
        for (at, first) in sent.iter().enumerate() {
            let in_a_day = sent[at..].iter().take_while(|one| **one < *first + Duration::from_secs(24 * 3600)).count();
            proptest::prop_assert!(in_a_day <= usize::try_from(budget).unwrap(), "{:?}", sent);
        }
    }
}

#[test]
fn a_canary_needs_a_model_and_a_budget() {
    configured("ai: { provider: ollama, model: m, canary: { daily_budget: 24, max_tokens: 16 } }").unwrap();
    for (text, said) in [
        ("canary: { daily_budget: 24 }", "needs a `model`"),
        ("model: m, canary: {}", "missing key `daily_budget`"),
        ("model: m, canary: { daily_budget: 0 }", "must be from 1 to 1440"),
        ("model: m, canary: { daily_budget: 2000 }", "must be from 1 to 1440"),
        ("model: m, canary: { daily_budget: 1, max_tokens: 5000 }", "must be from 1 to 1000"),
        ("model: m, canary: { daily_budget: 1, every: 1h }", "unknown key `every`"),
    ] {
        let reported = configured(&format!("ai: {{ provider: ollama, {text} }}")).unwrap_err();
        assert!(reported.contains(said), "{reported}");
    }
}

#[test]
fn the_limit_of_tokens_has_the_word_that_is_read() {
    let limit = |base: &str| {
        let (_, body) = canary::completion(Provider::OpenAi, &base.parse().unwrap(), "m", 1);
        body.as_object().unwrap().keys().next_back().unwrap().clone()
    };
    assert_eq!(limit("https://api.openai.com"), "max_completion_tokens");
    assert_eq!(limit("https://api.openai.com/v1"), "max_completion_tokens");
    assert_eq!(limit("http://127.0.0.1:1234"), "max_tokens");
}

#[test]
fn a_key_in_the_url_and_two_keys_are_refused() {
    configured("ai: { provider: gemini, key: secret, model: models/gemini-x }").unwrap();
    for (text, said) in [
        (format!("ai: {{ provider: gemini, url: 'https://x.example/?key={PLANTED}' }}"), "must have no query"),
        (format!("ai: {{ provider: openai, key: {PLANTED}, key_file: /x }}"), "take one of the two"),
        ("ai: { provider: openai, key_file: /no/such/file }".to_owned(), "can't be read"),
        ("ai: { provider: opena }".to_owned(), "did you mean `openai`?"),
    ] {
        let reported = configured(&text).unwrap_err();
        assert!(reported.contains(said) && !reported.contains(PLANTED), "{reported}");
    }
    let joined = |base: &str, path: &[&str]| provider::joined(&base.parse().unwrap(), path).to_string();
    assert_eq!(joined("http://x/v1/", &["v1", "models"]), "http://x/v1/models");
    assert_eq!(joined("http://x/ai/v1", &["metrics"]), "http://x/ai/metrics");
    assert_eq!(joined("http://x", &["v1", "models", "a b"]), "http://x/v1/models/a%20b");
}
