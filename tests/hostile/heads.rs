//! Heads that are too large.

use coracle::Options;
use coracle_bench::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    Outcome, Target, against,
    raw::{self, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, RST_STREAM, frame, get},
};

async fn first_line(target: &Target, head: String) -> Outcome<String> {
    let stream = raw::connect(target, b"http/1.1").await?;
    let (mut from, mut to) = tokio::io::split(stream);
    // The server may hang up before it has all.
    let sending = tokio::spawn(async move { to.write_all(head.as_bytes()).await });
    let mut answer = vec![0; 12];
    from.read_exact(&mut answer).await?;
    let _ = sending.await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_have_a_limit() -> Outcome {
    against(Options::default(), async |target| {
        let headers = format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(2 << 20));
        assert_eq!(first_line(&target, headers).await?, "HTTP/1.1 431");
        let many = "a: b\r\n".repeat(10_000);
        let headers = format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{many}\r\n");
        assert_eq!(first_line(&target, headers).await?, "HTTP/1.1 431");
        let path = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(100_000));
        assert_eq!(first_line(&target, path).await?, "HTTP/1.1 414");
        target.client(Protocol::Http1).await?.is_served().await?;
        Ok(target)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_goes_on_and_on_is_cut_off() -> Outcome {
    against(Options::default(), async |target| {
        let mut hostile = Http2::connect(&target).await?;
        let long = "x".repeat(8 << 10);
        hostile.send(&frame(HEADERS, END_STREAM, 1, &get("/healthz", &[]))).await?;
        // Continuations without an end.
        let more = frame(9, 0, 1, &get("/", &[("a", &long)])[get("/", &[]).len()..]);
        for _ in 0..10_000 {
            if hostile.send(&more).await.is_err() {
                break;
            }
        }
        // Told so, or hung up on.
        while let Ok(Some(frame)) = hostile.next().await {
            if matches!(frame.kind, GOAWAY | RST_STREAM) {
                break;
            }
        }
        let mut large = Http2::connect(&target).await?;
        let head = get("/healthz", &[("a", &long)]);
        large.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head)).await?;
        let answered = loop {
            match large.next().await? {
                Some(frame) if frame.stream == 1 => break frame.kind,
                Some(_) => {}
                None => return Err("hung up".into()),
            }
        };
        assert_eq!(answered, HEADERS, "eight kilobytes are fine");
        target.client(Protocol::Http2).await?.is_served().await?;
        Ok(target)
    })
    .await
}
