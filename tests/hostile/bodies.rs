//! Bodies that are too large, or do not come.

use std::time::Duration;

use coracle::Options;
use coracle_bench::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Outcome, against, raw};

const PATH: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_refused_in_upstreams_words() -> Outcome {
    against(Options::default(), async |target| {
        let body = " ".repeat((3 << 20) + 1);
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let answer = target.client(protocol).await?.ask("POST", PATH, &body).await?;
            assert_eq!(answer.status(), 413);
            let status: serde_json::Value = serde_json::from_slice(answer.body())?;
            assert_eq!(status["message"], "Request entity too large: limit is 3145728");
            assert_eq!(status["reason"], "RequestEntityTooLarge");
            target.client(protocol).await?.is_served().await?;
        }
        Ok(target)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_comes_is_given_up_on() -> Outcome {
    let mut options = Options::default();
    options.config.body_patience = Duration::from_millis(100);
    against(options, async |target| {
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let mut stream = raw::connect(&target, b"http/1.1").await?;
            let head = format!("POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{{");
            stream.write_all(head.as_bytes()).await?;
            waiting.push(stream);
        }
        let mut honest = target.client(Protocol::Http2).await?;
        honest.is_served().await?;
        for mut stream in waiting {
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await?;
            assert_eq!(&answer, b"HTTP/1.1 504");
        }
        let labels = ["verb=\"POST\"", "code=\"504\"", "resource=\"configmaps\""];
        assert_eq!(honest.metric("apiserver_request_terminations_total", &labels).await?, 50.0);
        Ok(target)
    })
    .await
}

// A chunked body grows as long as the client likes: it is cut off, and the
// client that goes on sending is hung up on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_without_an_end_is_cut_off() -> Outcome {
    against(Options::default(), async |target| {
        let mut stream = raw::connect(&target, b"http/1.1").await?;
        let head = format!("POST {PATH} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
        let (mut from, mut to) = tokio::io::split(stream);
        let sending = tokio::spawn(async move { while to.write_all(&chunk).await.is_ok() {} });
        let mut answer = [0; 12];
        from.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"HTTP/1.1 413");
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = from.read_to_end(&mut rest).await;
        sending.await?;
        target.client(Protocol::Http1).await?.is_served().await?;
        Ok(target)
    })
    .await
}

// Upstream's limit is ten thousand levels, which nobody's objects have. Here it is what the stack of a reader takes, and
// whoever sends more is refused, not served by a stack that overflows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_that_are_too_deep_are_refused() -> Outcome {
    against(Options::default(), async |target| {
        let mut client = target.client(Protocol::Http2).await?;
        client.create("a", 1).await?;
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (depth, expected) in [(100, 422), (5_000, 400), (200_000, 400)] {
            let merge = format!(r#"{{"data":{{"x":{}}}}}"#, deep(depth));
            let json = format!(r#"[{{"op":"replace","path":"/data","value":{}}}]"#, deep(depth));
            for (kind, body) in
                [("merge-patch", &merge), ("strategic-merge-patch", &merge), ("json-patch", &json)]
            {
                let kind = format!("application/{kind}+json");
                let answer = client.send("PATCH", &format!("{PATH}/a"), &kind, body).await?;
                assert_eq!(answer.status(), expected, "{kind} {depth}: {:?}", answer.body());
            }
        }
        client.is_served().await?;
        Ok(target)
    })
    .await
}
