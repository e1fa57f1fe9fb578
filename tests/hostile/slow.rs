//! Watchers that do not read.

use coracle::Options;
use coracle_bench::Protocol;

use crate::{
    Outcome, against,
    raw::{DATA, END_HEADERS, END_STREAM, HEADERS, Http2, WINDOW_UPDATE, frame, get},
};

// One that does not read falls behind, and hears so when it reads again; one
// that reads gets everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_read_is_left_behind() -> Outcome {
    let mut options = Options::default();
    options.config.history = 50;
    against(options, async |target| {
        let watch = get("/api/v1/namespaces/default/configmaps?watch=1", &[]);
        let mut slow = Http2::connect(&target).await?;
        slow.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &watch)).await?;
        while slow.next().await?.ok_or("hung up")?.kind != HEADERS {}
        let mut quick = Http2::connect(&target).await?;
        quick.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &watch)).await?;
        let mut writer = target.client(Protocol::Http2).await?;
        for at in 0..300 {
            writer.create(&format!("map-{at}"), 16 << 10).await?;
            let expected = format!("\"map-{at}\"");
            read_until(&mut quick, &expected).await?;
        }
        let seen = read_until(&mut slow, "too old resource version").await?;
        assert!(seen.contains(r#""type":"ERROR""#) && seen.contains(r#""code":410"#), "{seen}");
        assert!(!seen.contains("\"map-299\""), "it was left behind");
        let terminated = writer.metric("apiserver_terminated_watchers_total", &["configmaps"]).await?;
        assert_eq!(terminated, 1.0);
        Ok(target)
    })
    .await
}

// Who goes away in the middle of a list is counted, by what was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_not_read_to_its_end_is_aborted() -> Outcome {
    against(Options::default(), async |target| {
        let mut writer = target.client(Protocol::Http2).await?;
        for at in 0..64 {
            writer.create(&format!("map-{at}"), 512 << 10).await?;
        }
        let aborts = "apiserver_request_aborts_total";
        let labels = ["verb=\"LIST\"", "resource=\"configmaps\"", "scope=\"namespace\""];
        let whole = writer.ask("GET", "/api/v1/namespaces/default/configmaps", "").await?;
        assert!(whole.body().len() > 32 << 20);
        assert_eq!(writer.metric(aborts, &labels).await?, 0.0);
        let mut leaver = Http2::connect(&target).await?;
        let list = get("/api/v1/namespaces/default/configmaps", &[]);
        leaver.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &list)).await?;
        while leaver.next().await?.ok_or("hung up")?.kind != DATA {}
        drop(leaver);
        while writer.metric(aborts, &labels).await? == 0.0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(writer.metric(aborts, &labels).await?, 1.0);
        Ok(target)
    })
    .await
}

// All of a stream up to a text, with the window opened as it is read.
async fn read_until(client: &mut Http2, wanted: &str) -> Outcome<String> {
    let mut seen = String::new();
    while !seen.contains(wanted) {
        let next = client.next().await?.ok_or_else(|| format!("hung up after {seen}"))?;
        if next.kind == DATA {
            let read = (next.payload.len() as u32).to_be_bytes();
            seen.push_str(&String::from_utf8_lossy(&next.payload));
            if next.flags & END_STREAM == 0 && !next.payload.is_empty() {
                let opened = [frame(WINDOW_UPDATE, 0, 0, &read), frame(WINDOW_UPDATE, 0, 1, &read)].concat();
                client.send(&opened).await?;
            }
        }
    }
    Ok(seen)
}
