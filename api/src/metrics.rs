//! `/metrics` in the text format of Prometheus (version 0.0.4), written by hand: figures of the queue read at each look, and what this process
//! has counted. No label names a key, an owner, a job or anything that a user wrote, so there are as many series as there are kinds of things.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use jobs::tally::{Counted, End, TALLY};
use storage::figures::{self, QueueFigures};
use storage::filesystem;

use crate::app::App;
use crate::problem::Problem;
use crate::scopes::Scope;

/// Calls that were refused because a limit was reached.
#[derive(Debug, Default)]
pub struct LimitHits([AtomicU64; Scope::ALL.len()]);

impl LimitHits {
    pub fn note(&self, scope: Scope) {
        if let Some(place) = Scope::ALL.iter().position(|known| *known == scope) {
            self.0[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Vec<(&'static str, u64)> {
        Scope::ALL.iter().zip(&self.0).map(|(scope, hits)| (scope.as_str(), hits.load(Ordering::Relaxed))).collect()
    }
}

/// What one look found.
#[derive(Debug)]
struct Figures {
    queue: QueueFigures,
    open_generations: i64,
    now_ms: i64,
    wal_bytes: Option<u64>,
    disk_free_bytes: Option<u64>,
    engine_busy: usize,
    engine_calls: u64,
    subscribers: usize,
    slow_subscribers: u64,
    limit_hits: Vec<(&'static str, u64)>,
    uptime_s: u64,
}

/// All metrics of this process and of the database it works on.
pub async fn text(app: &App) -> Result<String, Problem> {
    let pool = app.storage.rows.read();
    let status = app.jobs.engine_status();
    let figures = Figures {
        queue: figures::of_queue(pool).await?,
        open_generations: storage::generations::count_open(pool).await?,
        now_ms: app.clock.now_ms(),
        wal_bytes: figures::wal_bytes(&app.config.data_dir),
        disk_free_bytes: filesystem::free_bytes(&app.config.data_dir),
        engine_busy: status.busy,
        engine_calls: status.calls,
        subscribers: (app.config.subscribers_max as usize).saturating_sub(app.subscriber_places.available_permits()),
        slow_subscribers: *app.slow_subscribers.borrow(),
        limit_hits: app.limit_hits.read(),
        uptime_s: app.steady_ms() / 1_000,
    };
    let mut page = Page::default();
    write_queue(&mut page, &figures).map_err(Problem::internal)?;
    write_runs(&mut page).map_err(Problem::internal)?;
    write_process(&mut page, &figures).map_err(Problem::internal)?;
    Ok(page.0)
}

fn write_queue(page: &mut Page, figures: &Figures) -> fmt::Result {
    page.head("clonyvoice_queue_jobs", "gauge", "Jobs that are not finished, by queue and state.")?;
    for count in &figures.queue.live {
        let labels = [("queue", count.queue.as_str()), ("state", count.state.as_str())];
        page.line("clonyvoice_queue_jobs", &labels, count.count as f64)?;
    }
    page.head("clonyvoice_queue_oldest_seconds", "gauge", "Since when the longest waiting job of a queue could have started.")?;
    for (queue, oldest_ms) in &figures.queue.oldest_ms {
        let age_s = (figures.now_ms - oldest_ms).max(0) as f64 / 1_000.0;
        page.line("clonyvoice_queue_oldest_seconds", &[("queue", queue)], age_s)?;
    }
    page.one("clonyvoice_generations_open", "gauge", "Generations that are not finished.", figures.open_generations as f64)
}

fn write_runs(page: &mut Page) -> fmt::Result {
    page.head("clonyvoice_attempts_total", "counter", "Runs of jobs in this process by how they ended.")?;
    for end in End::ALL {
        page.line("clonyvoice_attempts_total", &[("end", end.name())], TALLY.ended(end) as f64)?;
    }
    let dead = TALLY.ended(End::Discarded) as f64;
    page.one("clonyvoice_dead_letters_total", "counter", "Jobs that this process gave up.", dead)?;
    let fenced = TALLY.ended(End::Fenced) as f64;
    page.one("clonyvoice_fenced_commits_total", "counter", "Runs whose result was thrown away because the lease was gone.", fenced)?;
    let rescued = TALLY.rescued.load(Ordering::Relaxed) as f64;
    page.one("clonyvoice_rescues_total", "counter", "Jobs that this process took back from workers that were gone.", rescued)?;
    page.histogram("clonyvoice_job_wait_seconds", "From when a job could start to its start.", &TALLY.wait_s.read())?;
    page.histogram("clonyvoice_job_run_seconds", "How long runs took.", &TALLY.run_s.read())?;
    page.histogram("clonyvoice_real_time_factor", "Computing time over audio time of spoken chunks.", &TALLY.real_time_factor.read())
}

fn write_process(page: &mut Page, figures: &Figures) -> fmt::Result {
    page.one("clonyvoice_engine_busy", "gauge", "Chunks that the engine works on.", figures.engine_busy as f64)?;
    page.one("clonyvoice_engine_calls_total", "counter", "Requests that reached the engine.", figures.engine_calls as f64)?;
    page.one("clonyvoice_subscribers", "gauge", "Open WebSocket and event-stream connections.", figures.subscribers as f64)?;
    let slow = figures.slow_subscribers as f64;
    page.one("clonyvoice_subscribers_dropped_total", "counter", "Connections that were closed because they were too slow.", slow)?;
    page.head("clonyvoice_limit_hits_total", "counter", "Calls that were refused by a rate limit, by scope.")?;
    for (scope, hits) in &figures.limit_hits {
        page.line("clonyvoice_limit_hits_total", &[("scope", scope)], *hits as f64)?;
    }
    if let Some(bytes) = figures.wal_bytes {
        page.one("clonyvoice_wal_bytes", "gauge", "Size of SQLite's write-ahead log.", bytes as f64)?;
    }
    if let Some(bytes) = figures.disk_free_bytes {
        page.one("clonyvoice_disk_free_bytes", "gauge", "Free space on the disk of the data folder.", bytes as f64)?;
    }
    page.one("clonyvoice_uptime_seconds", "gauge", "Since the start of this process.", figures.uptime_s as f64)?;
    page.head("clonyvoice_build_info", "gauge", "The version; the value is always 1.")?;
    page.line("clonyvoice_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0)
}

#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n")
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) -> fmt::Result {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(self.0, "{}{label}=\"{text}\"", if place == 0 { '{' } else { ',' })?;
        }
        writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" })
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) -> fmt::Result {
        self.head(name, kind, help)?;
        self.line(name, &[], value)
    }

    fn histogram(&mut self, name: &str, help: &str, counted: &Counted) -> fmt::Result {
        self.head(name, "histogram", help)?;
        for (bound, count) in &counted.up_to {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".into() };
            self.line(&format!("{name}_bucket"), &[("le", &bound)], *count as f64)?;
        }
        self.line(&format!("{name}_sum"), &[], counted.sum)?;
        self.line(&format!("{name}_count"), &[], counted.up_to.last().map_or(0, |(_, count)| *count) as f64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn lines_are_those_of_the_text_format() {
        let mut page = Page::default();
        page.one("a_total", "counter", "A.", 3.0).unwrap();
        page.line("b", &[("x", "1\"2\\3\n4"), ("y", "z")], 0.25).unwrap();
        page.histogram("c", "C.", &Counted { up_to: vec![(0.5, 1), (f64::INFINITY, 2)], sum: 7.5 }).unwrap();
        let expected = "# HELP a_total A.\n# TYPE a_total counter\na_total 3\nb{x=\"1\\\"2\\\\3\\n4\",y=\"z\"} 0.25\n# HELP c C.\n\
                        # TYPE c histogram\nc_bucket{le=\"0.5\"} 1\nc_bucket{le=\"+Inf\"} 2\nc_sum 7.5\nc_count 2\n";
        assert_eq!(page.0, expected);
    }

    #[test]
    fn hits_are_counted_by_scope() {
        let hits = LimitHits::default();
        hits.note(Scope::TtsGenerate);
        hits.note(Scope::TtsGenerate);
        let read = hits.read();
        assert_eq!(read.iter().map(|(_, count)| count).sum::<u64>(), 2);
        assert!(read.contains(&("tts:generate", 2)), "{read:?}");
    }
}
