//! `site-operator`: looks after the sites of the cluster that the current context of kubectl means, until it is
//! interrupted. `site-operator crd` prints the definition of a site instead, for `kubectl apply -f -`.

use kube::{Client, CustomResourceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().nth(1).as_deref() == Some("crd") {
        print!("{}", serde_yaml_ng::to_string(&site_operator::Site::crd())?);
        return Ok(());
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let interrupted = async {
        // Where there are no signals, it runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    site_operator::run(Client::try_default().await?, interrupted).await;
    Ok(())
}
