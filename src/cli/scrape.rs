//! What a part that runs alone serves of itself: `/metrics` and `/healthz`, in plain HTTP.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use coracle_api::metrics::{Registry, write_text};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
/// Scrapers are few; who else comes waits.
const CONNECTIONS: usize = 32;
const HEAD: Duration = Duration::from_secs(10);

/// Does `work`, and meanwhile serves what it measures, if there is an address to serve it at.
///
/// # Errors
/// When nothing can listen there; the work is not begun then.
pub(super) async fn beside<T>(
    address: Option<SocketAddr>,
    metrics: Arc<Registry>,
    work: impl Future<Output = T>,
) -> Result<T, String> {
    let Some(address) = address else { return Ok(work.await) };
    let failed = |error: io::Error| format!("--metrics-bind-address {address}: {error}");
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let shutdown = CancellationToken::new();
    let _end = shutdown.clone().drop_guard();
    let (done, ()) = tokio::join!(
        async {
            let done = work.await;
            shutdown.cancel();
            done
        },
        serve(listener, metrics, &shutdown),
    );
    Ok(done)
}

async fn serve(listener: TcpListener, metrics: Arc<Registry>, shutdown: &CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Dropped at the end, and with it what is still being answered.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepting = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepting => accepted,
            () = shutdown.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let metrics = metrics.clone();
        connections.spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let response = answer(&request, &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: &Registry) -> Response<Full<Bytes>> {
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, TEXT, write_text(&metrics.gather())),
        (&Method::GET | &Method::HEAD, "/healthz" | "/livez" | "/readyz") => {
            (StatusCode::OK, "text/plain; charset=utf-8", "ok".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
