//! Quantity that criterion measures: time, or cycles or instructions of all workers if the CPU has a PMU.

use convroof::counters::Counters;
use convroof::machine::Topology;
use convroof::machine::pool::Workers;
use convroof::measure::solo::timed;
use convroof_kernels::instance::Instance;
use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use std::cell::RefCell;
use std::time::Duration;

/// A quantity that can be measured on runs of an instance.
pub(crate) trait FromDuration: Measurement {
    /// Runs the instance and returns the quantity and the time.
    fn measure(
        workers: &Workers,
        iterations: u64,
        instance: &mut Instance,
    ) -> (Self::Value, Duration);
}

impl FromDuration for WallTime {
    fn measure(
        workers: &Workers,
        iterations: u64,
        instance: &mut Instance,
    ) -> (Duration, Duration) {
        let took = timed(workers, iterations, instance);
        (took, took)
    }
}

/// An event, counted on all workers.
pub(crate) struct Events(&'static str);

thread_local! {
    /// Counters of the last measured pool, kept because opening them is slow.
    static OPEN: RefCell<Option<(usize, Counters)>> = const { RefCell::new(None) };
    /// The requested event.
    static WANTED: RefCell<&'static str> = const { RefCell::new("cycles") };
}

/// The event that `CONVROOF_MEASURE` requests; none for time.
pub(crate) fn wanted() -> Result<Option<Events>, String> {
    let name = match std::env::var("CONVROOF_MEASURE").as_deref() {
        Err(_) | Ok("" | "time") => return Ok(None),
        Ok("cycles") => "cycles",
        Ok("instructions") => "instructions",
        Ok(other) => {
            return Err(format!(
                "CONVROOF_MEASURE={other}: expected time, cycles or instructions"
            ));
        }
    };
    let workers = Workers::new(&Topology::detect(), 1).map_err(|e| e.to_string())?;
    let counters = Counters::open(&workers);
    let status = counters.status().iter().find(|s| s.event == name);
    match status {
        Some(s) if s.available => {
            WANTED.with(|w| *w.borrow_mut() = name);
            Ok(Some(Events(name)))
        }
        status => {
            let reason = status
                .and_then(|s| s.reason.clone())
                .unwrap_or("no such event".into());
            Err(format!("CONVROOF_MEASURE={name}: {reason}"))
        }
    }
}

impl FromDuration for Events {
    fn measure(workers: &Workers, iterations: u64, instance: &mut Instance) -> (f64, Duration) {
        OPEN.with(|open| {
            let mut open = open.borrow_mut();
            if open
                .as_ref()
                .is_none_or(|(threads, _)| *threads != workers.threads())
            {
                *open = Some((workers.threads(), Counters::open(workers)));
            }
            let (_, counters) = open.as_mut().expect("opened above");
            let mut took = Duration::ZERO;
            let values = counters.count(workers, 1, || took = timed(workers, iterations, instance));
            let name = WANTED.with(|w| *w.borrow());
            let value = values
                .iter()
                .find(|v| v.event == name)
                .map_or(0.0, |v| v.per_run);
            (value, took)
        })
    }
}

impl Measurement for Events {
    type Intermediate = ();
    type Value = f64;

    fn start(&self) {}
    fn end(&self, (): ()) -> f64 {
        0.0
    }
    fn add(&self, a: &f64, b: &f64) -> f64 {
        a + b
    }
    fn zero(&self) -> f64 {
        0.0
    }
    fn to_f64(&self, value: &f64) -> f64 {
        *value
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Events {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        let (factor, unit) = match (self.0, typical) {
            ("cycles", t) if t < 1e6 => (1.0, "cycles"),
            ("cycles", _) => (1e-6, "Mcycles"),
            (_, t) if t < 1e6 => (1.0, "instructions"),
            (_, _) => (1e-6, "Minstructions"),
        };
        values.iter_mut().for_each(|v| *v *= factor);
        unit
    }

    fn scale_throughputs(
        &self,
        _: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        let Throughput::Elements(flops) = throughput else {
            return "events";
        };
        values.iter_mut().for_each(|v| *v = *flops as f64 / *v);
        if self.0 == "cycles" {
            "flop/cycle"
        } else {
            "flop/instruction"
        }
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        self.0
    }
}
