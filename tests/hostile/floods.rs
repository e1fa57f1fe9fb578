//! Too much of what is allowed.

use coracle::Options;
use coracle_bench::Protocol;
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::{
    Outcome, against,
    raw::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, PING, RST_STREAM, SETTINGS, frame, get},
};

// Enough to show growth, small enough for any machine: in this process the
// client's half counts too.
const ROOM: u64 = 256 << 20;

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4096
}

fn grew_little(before: u64) {
    let grown = resident().saturating_sub(before);
    assert!(grown < ROOM, "{} MiB more", grown >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_at_once_end_the_connection() -> Outcome {
    against(Options::default(), async |target| {
        let mut honest = target.client(Protocol::Http2).await?;
        honest.is_served().await?;
        let before = resident();
        let mut hostile = Http2::connect(&target).await?;
        let head = get("/api/v1/podtemplates?watch=1", &[]);
        for batch in 0..5 {
            let mut frames = Vec::new();
            for at in 0..100 {
                let stream = 1 + 2 * (batch * 100 + at);
                frames.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &head));
                frames.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
            }
            if hostile.send(&frames).await.is_err() {
                break;
            }
        }
        let mut told = false;
        while let Ok(Some(frame)) = hostile.next().await {
            told |= frame.kind == GOAWAY;
        }
        assert!(told, "it is told to go away");
        honest.is_served().await?;
        grew_little(before);
        // Nothing of it goes on.
        while honest.metric("apiserver_longrunning_requests", &["resource=\"podtemplates\""]).await? > 0.0 {
            tokio::task::yield_now().await;
        }
        Ok(target)
    })
    .await
}

// Frames that must be answered, from a client that does not read the answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_small_frames_fill_nothing() -> Outcome {
    against(Options::default(), async |target| {
        let mut honest = target.client(Protocol::Http2).await?;
        let before = resident();
        for small in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])] {
            let mut hostile = Http2::connect(&target).await?;
            let many: Vec<u8> = small.repeat(1000);
            let flood = tokio::spawn(async move {
                for _ in 0..2000 {
                    if hostile.send(&many).await.is_err() {
                        return;
                    }
                }
            });
            // In the midst of it.
            for _ in 0..20 {
                honest.is_served().await?;
            }
            // Blocked for good, most likely: nobody reads.
            flood.abort();
            let _ = flood.await;
            honest.is_served().await?;
        }
        grew_little(before);
        Ok(target)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_past_the_limit_are_refused() -> Outcome {
    against(Options::default(), async |target| {
        let mut hostile = Http2::connect(&target).await?;
        let head = get("/api/v1/podtemplates?watch=1", &[]);
        let mut refused = 0;
        for at in 0..1000 {
            hostile.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * at, &head)).await?;
        }
        while refused < 750 {
            match hostile.next().await? {
                Some(frame) if frame.kind == RST_STREAM => {
                    assert_eq!(frame.payload, 7u32.to_be_bytes(), "refused");
                    refused += 1;
                }
                Some(_) => {}
                None => return Err("hung up".into()),
            }
        }
        let mut honest = target.client(Protocol::Http2).await?;
        honest.is_served().await?;
        let watches = honest.metric("apiserver_longrunning_requests", &["resource=\"podtemplates\""]).await?;
        assert!(watches <= 250.0, "{watches}");
        Ok(target)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_that_say_nothing() -> Outcome {
    against(Options::default(), async |target| {
        let mut honest = target.client(Protocol::Http2).await?;
        let before = resident();
        let address = target.cluster.address().ok_or("it listens nowhere")?;
        // Both ends are files of this process.
        let most = files().saturating_sub(200) / 2;
        let mut idle = Vec::new();
        while idle.len() < most.min(10_000) {
            idle.push(TcpStream::connect(address).await?);
        }
        honest.is_served().await?;
        target.client(Protocol::Http1).await?.is_served().await?;
        grew_little(before);
        // They are not kept for ever.
        for mut stream in idle {
            let _ = stream.read(&mut [0]).await;
        }
        honest.is_served().await?;
        Ok(target)
    })
    .await
}

fn files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(1024)
}
