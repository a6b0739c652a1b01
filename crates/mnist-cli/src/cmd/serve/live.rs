//! Curves of the runs: all that they wrote so far, and what they write while it is watched (server-sent events).

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use mnist_train::{
    log::{MetricsLine, read_end},
    publish::read_evaluation,
    rundir::RunDir,
};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa::ToSchema;

use super::{api::Shared, refusal::Refusal};

/// Clients that are told of runs at the same time.
const LISTENERS: usize = 16;
/// Time between two looks at the files.
const PAUSE: Duration = Duration::from_secs(1);
/// Most bytes that are read of a file of measurements at once.
const AT_ONCE: u64 = 1 << 20;

/// Room for so many listeners.
pub(super) fn listeners() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(LISTENERS))
}

/// A run.
#[derive(Serialize, Debug, ToSchema)]
pub(super) struct RunRow {
    /// Its name.
    name: String,
    /// What it is trained for.
    objective: String,
    /// Its network.
    net: String,
    /// Epochs it is to have.
    epochs: usize,
    /// Accuracy on the test images, 0-1, where it was measured.
    test_accuracy: Option<f64>,
    /// Seconds of training, where it ended.
    train_seconds: Option<f64>,
}

/// New lines of a run's measurements: the data of an event.
#[derive(Serialize, Debug, ToSchema)]
pub(super) struct News {
    /// Name of the run.
    run: String,
    /// Whether the lines that were told before are no longer true: the run was resumed from an older checkpoint.
    again: bool,
    /// The lines.
    #[schema(value_type = Vec<Object>)]
    lines: Vec<MetricsLine>,
}

/// The runs, by name.
#[utoipa::path(get, path = "/api/runs", responses((status = 200, body = Vec<RunRow>)))]
pub(super) async fn runs(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<RunRow>>, Refusal> {
    let leave = shared.readers.clone().acquire_owned().await;
    let runs = shared.runs.clone();
    let rows = tokio::task::spawn_blocking(move || {
        let _leave = leave;
        rows(&runs)
    });
    rows.await.map(Json).map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn rows(runs: &Path) -> Vec<RunRow> {
    let row = |dir: RunDir| {
        let saved = dir.load().ok()?;
        Some(RunRow {
            name: dir.name(),
            objective: saved.run.objective.clone(),
            net: saved.net().into(),
            epochs: saved.run.epochs,
            test_accuracy: read_evaluation(&dir).ok().flatten().and_then(|figures| figures.accuracy()),
            train_seconds: read_end(&dir.timing()).map(|end| end.train_seconds),
        })
    };
    RunDir::all(runs).unwrap_or_default().into_iter().filter_map(row).collect()
}

/// Measurements of all runs, as they come: first what there is, then what is new each second.
#[utoipa::path(
    get, path = "/api/runs/events",
    responses(
        (status = 200, body = News, content_type = "text/event-stream"),
        (status = 429, body = super::refusal::Reason, description = "too many clients listen"),
    )
)]
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let leave = shared.listeners.clone().try_acquire_owned().map_err(|_| {
        let reason = format!("{LISTENERS} clients are told of runs already; close one");
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason)
    })?;
    let watcher = Watcher {
        runs: shared.runs.clone(),
        read: BTreeMap::new(),
        stopping: shared.stopping.clone(),
        leave: Arc::new(leave),
    };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let news = watcher.next().await?;
        let event = Event::default().json_data(news).unwrap_or_default();
        Some((Ok(event), watcher))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// What one client was told so far.
struct Watcher {
    runs: PathBuf,
    /// Bytes of each run's measurements.
    read: BTreeMap<String, u64>,
    stopping: watch::Receiver<bool>,
    leave: Arc<OwnedSemaphorePermit>,
}

impl Watcher {
    /// The next news, waited for; none when the server stops.
    async fn next(&mut self) -> Option<News> {
        loop {
            if *self.stopping.borrow() {
                return None;
            }
            let (runs, read, leave) = (self.runs.clone(), std::mem::take(&mut self.read), self.leave.clone());
            let found = tokio::task::spawn_blocking(move || {
                let _leave = leave;
                look(&runs, read)
            });
            let news;
            (self.read, news) = found.await.ok()?;
            if news.is_some() {
                return news;
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = self.stopping.changed() => return None,
            }
        }
    }
}

/// What is new of a run since so many bytes were read of each: of the first that has news.
fn look(runs: &Path, mut read: BTreeMap<String, u64>) -> (BTreeMap<String, u64>, Option<News>) {
    for dir in RunDir::all(runs).unwrap_or_default() {
        let before = read.get(&dir.name()).copied().unwrap_or(0);
        let Some((lines, after, again)) = new_lines(&dir.metrics(), before) else { continue };
        read.insert(dir.name(), after);
        if again || !lines.is_empty() {
            return (read, Some(News { run: dir.name(), again, lines }));
        }
    }
    (read, None)
}

/// Whole lines behind the first `before` bytes, the bytes up to their end, and whether the file was cut and read from
/// its beginning.
fn new_lines(path: &Path, before: u64) -> Option<(Vec<MetricsLine>, u64, bool)> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let again = length < before;
    let from = if again { 0 } else { before };
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(AT_ONCE).read_to_end(&mut bytes).ok()?;
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(bytes.get(..whole).unwrap_or_default());
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Some((lines, from + whole as u64, again))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_are_told_whole_and_once_and_anew_if_the_file_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        assert!(new_lines(&path, 0).is_none());
        let line = |step| {
            format!(
                "{{\"split\":\"train\",\"step\":{step},\"epoch\":1,\"learning_rate\":0.1,\"values\":{{}}}}\n"
            )
        };
        let (one, two) = (line(1), line(2));
        fs::write(&path, format!("{one}{}", &two[..9])).unwrap();
        let steps = |lines: &[MetricsLine]| lines.iter().map(|line| line.step).collect::<Vec<_>>();
        let (lines, after, again) = new_lines(&path, 0).unwrap();
        assert_eq!((steps(&lines), after, again), (vec![1], one.len() as u64, false));
        fs::write(&path, format!("{one}{two}")).unwrap();
        let (lines, after, again) = new_lines(&path, after).unwrap();
        assert_eq!((steps(&lines), again), (vec![2], false));
        assert!(new_lines(&path, after).unwrap().0.is_empty());
        fs::write(&path, &two).unwrap();
        let (lines, _, again) = new_lines(&path, after).unwrap();
        assert_eq!((steps(&lines), again), (vec![2], true));
    }
}
