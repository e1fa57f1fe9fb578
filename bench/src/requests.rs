//! What a server says it was asked: `apiserver_request_total` at `/metrics`.

use bytes::Bytes;

use crate::load::{Client, LoadError};

/// Requests answered so far, from the first on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Requests {
    /// For pods and what is below them.
    pub pods: f64,
    /// For anything.
    pub all: f64,
}

impl Requests {
    /// Reads them; none where the server has no such metric.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn read(client: &mut Client) -> Result<Option<Self>, LoadError> {
        match client.ask("GET", "/metrics", Bytes::new()).await {
            Ok(body) => Ok(Self::parse(&String::from_utf8_lossy(&body))),
            Err(LoadError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What came between `before` and these, for each of `count`.
    pub fn since(self, before: Self, count: usize) -> Self {
        let each = |now: f64, then: f64| (now - then) / count.max(1) as f64;
        Self { pods: each(self.pods, before.pods), all: each(self.all, before.all) }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut sum = None;
        for line in text.lines() {
            let Some((labels, value)) =
                line.strip_prefix("apiserver_request_total{").and_then(|rest| rest.rsplit_once("} "))
            else {
                continue;
            };
            let Ok(value) = value.trim().parse::<f64>() else { continue };
            let sum: &mut Self = sum.get_or_insert_default();
            sum.all += value;
            if labels.contains("resource=\"pods\"") && labels.contains("group=\"\"") {
                sum.pods += value;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics() {
        let check = |text: &str, expected: Option<(f64, f64)>| {
            let found = Requests::parse(text).map(|requests| (requests.pods, requests.all));
            assert_eq!(found, expected, "{text}");
        };
        check("", None);
        check("# TYPE apiserver_request_total counter\nother{resource=\"pods\"} 3\n", None);
        check(
            "apiserver_request_total{code=\"201\",group=\"\",resource=\"pods\",subresource=\"\",verb=\"POST\"} 3\n\
             apiserver_request_total{code=\"201\",group=\"\",resource=\"pods\",subresource=\"binding\",verb=\"POST\"} 2\n\
             apiserver_request_total{code=\"200\",group=\"metrics.k8s.io\",resource=\"pods\",verb=\"LIST\"} 1\n\
             apiserver_request_total{code=\"200\",group=\"apps\",resource=\"replicasets\",verb=\"PUT\"} 1e1\n",
            Some((5.0, 16.0)),
        );
    }
}
