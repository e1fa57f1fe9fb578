//! The line to an extender: requests go to a thread of its own, so that
//! neither who waits nor who does not wait is kept longer than they must.

use std::{sync::mpsc, thread, time::Duration};

use http_body_util::{BodyExt, Limited};
use kube::{
    Client, Config,
    client::Body,
    config::{
        AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
    },
};
use serde_json::Value;
use tokio::{
    runtime::{Builder, Handle, RuntimeFlavor},
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::JoinSet,
};

use super::Settings;

/// The most that an extender may answer.
const MOST: usize = 64 << 20;
/// How much longer it is waited for the thread than for the extender.
const GRACE: Duration = Duration::from_secs(1);

type Answer = Result<Value, String>;

struct Request {
    verb: String,
    body: Vec<u8>,
    answered: Box<dyn FnOnce(Answer) + Send>,
}

/// The line to one extender. The thread ends with it.
pub(super) struct Line {
    url: String,
    patience: Duration,
    requests: UnboundedSender<Request>,
}

impl Line {
    /// A line to the extender that `settings` describe.
    /// # Errors
    /// Its address or certificates cannot be used.
    pub(super) fn to(settings: &Settings) -> Result<Self, String> {
        let url = settings.url_prefix.trim_end_matches('/').to_owned();
        let patience = settings.http_timeout;
        let (requests, incoming) = unbounded_channel();
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let (ready, begun) = mpsc::sync_channel(1);
        let (of, settings) = (url.clone(), settings.clone());
        let started = thread::Builder::new().name("extender".to_owned()).spawn(move || {
            runtime.block_on(async move {
                match client(&settings).await {
                    Ok(client) => {
                        let _nobody_waits = ready.send(Ok(()));
                        serve(client, of, patience, incoming).await;
                    }
                    Err(error) => {
                        let _nobody_waits = ready.send(Err(error));
                    }
                }
            });
        });
        started.map_err(|error| error.to_string())?;
        let begun = begun.recv().unwrap_or_else(|_| Err("its thread has ended".to_owned()));
        begun.map_err(|error| format!("extender {url}: {error}"))?;
        Ok(Self { url, patience, requests })
    }

    fn send(&self, verb: &str, arguments: &Value, answered: impl FnOnce(Answer) + Send + 'static) {
        let body = arguments.to_string().into_bytes();
        let request = Request { verb: verb.to_owned(), body, answered: Box::new(answered) };
        if let Err(unsent) = self.requests.send(request) {
            (unsent.0.answered)(Err(format!("Post \"{}/{verb}\": the line is closed", self.url)));
        }
    }

    /// Asks and waits for the answer, at most as long as the extender has.
    pub(super) fn ask(&self, verb: &str, arguments: &Value) -> Answer {
        let (sender, answer) = mpsc::sync_channel(1);
        self.send(verb, arguments, move |answer| {
            let _nobody_waits = sender.send(answer);
        });
        let wait =
            || answer.recv_timeout(self.patience + GRACE).unwrap_or_else(|_| Err(silence(&self.url, verb)));
        // What else this thread has to do goes on elsewhere, where there is elsewhere.
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
            _ => wait(),
        }
    }

    /// Asks.
    pub(super) async fn ask_later(&self, verb: &str, arguments: &Value) -> Answer {
        let (sender, answer) = oneshot::channel();
        self.send(verb, arguments, move |answer| {
            let _nobody_waits = sender.send(answer);
        });
        answer.await.unwrap_or_else(|_| Err(silence(&self.url, verb)))
    }
}

/// Answers requests until the line is dropped.
async fn serve(client: Client, url: String, patience: Duration, mut incoming: UnboundedReceiver<Request>) {
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            request = incoming.recv() => {
                let Some(request) = request else { break };
                let (client, url) = (client.clone(), url.clone());
                under_way.spawn(async move {
                    let Request { verb, body, answered } = request;
                    let asked = tokio::time::timeout(patience, post(&client, &url, &verb, body)).await;
                    answered(asked.unwrap_or_else(|_| Err(silence(&url, &verb))));
                });
            }
            Some(_) = under_way.join_next() => {}
        }
    }
    under_way.shutdown().await;
}

fn silence(url: &str, verb: &str) -> String {
    format!(
        "Post \"{url}/{verb}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    )
}

async fn post(client: &Client, url: &str, verb: &str, body: Vec<u8>) -> Answer {
    let failed = |error: String| format!("Post \"{url}/{verb}\": {error}");
    // What is before the verb stands in the client's address.
    let request =
        http::Request::post(format!("/{verb}")).header(http::header::CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(body)).map_err(|error| failed(error.to_string()))?;
    let response = client.send(request).await.map_err(|error| failed(error.to_string()))?;
    if response.status() != http::StatusCode::OK {
        let code = response.status().as_u16();
        return Err(format!("failed {verb} with extender at URL {url}/{verb}, code {code}"));
    }
    let body = Limited::new(response.into_body(), MOST).collect().await;
    let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

/// The client for an extender: a cluster with no more than an address and keys.
async fn client(settings: &Settings) -> Result<Client, String> {
    let tls = &settings.tls_config;
    let set = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let known = set(&tls.ca_data).is_some() || set(&tls.ca_file).is_some();
    let cluster = Cluster {
        server: Some(settings.url_prefix.trim_end_matches('/').to_owned()),
        insecure_skip_tls_verify: Some(tls.insecure || !known),
        certificate_authority: set(&tls.ca_file),
        certificate_authority_data: set(&tls.ca_data),
        tls_server_name: set(&tls.server_name),
        ..Cluster::default()
    };
    let user = AuthInfo {
        client_certificate: set(&tls.cert_file),
        client_key: set(&tls.key_file),
        client_certificate_data: set(&tls.cert_data),
        client_key_data: set(&tls.key_data).map(Into::into),
        ..AuthInfo::default()
    };
    let name = "extender".to_owned();
    let context = Context { cluster: name.clone(), user: Some(name.clone()), ..Context::default() };
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster {
            name: name.clone(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name.clone(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name.clone(),
            context: Some(context),
            ..NamedContext::default()
        }],
        current_context: Some(name),
        ..Kubeconfig::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| error.to_string())?;
    config.connect_timeout = Some(settings.http_timeout);
    config.read_timeout = Some(settings.http_timeout);
    config.write_timeout = Some(settings.http_timeout);
    // It may have done what it was asked and only not said so.
    config.default_retry = false;
    config.proxy_url = None;
    Client::try_from(config).map_err(|error| error.to_string())
}
