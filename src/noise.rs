//! How much a run was disturbed: quiet, busy or noisy, and the line that says so in every output.
//!
//! Each fact has two limits. Above the first the machine was busy, above the second it was noisy. The worst fact
//! decides. Load averages are shown and decide nothing, since they count the run's own earlier work.

use crate::record::{Calibration, IsaName, NoisePeriod, Run, Throttling};
use crate::stats::{FEW, SCATTERED, Summary};
use crate::units::threads;
use convroof_kernels::probe::Arithmetic;
use std::collections::BTreeMap;

/// Level of the disturbances of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No fact above its first limit.
    Quiet,
    /// A fact above its first limit: ratios within rounds are better than times.
    Busy,
    /// A fact above its second limit: even ratios need their intervals.
    Noisy,
}

/// Limits of a fact. A value above `busy` is a disturbance, one above `noisy` a large one.
#[derive(Clone, Copy, Debug)]
struct Limits {
    busy: f64,
    noisy: f64,
}

/// Peaks of the rounds on as many threads: distance from the ninth decile down to the first, relative to the ninth.
const PEAKS: Limits = Limits {
    busy: 0.05,
    noisy: 0.40,
};

/// Fraction of the cores' time that other processes took.
const OTHERS: Limits = Limits {
    busy: 0.05,
    noisy: 0.25,
};

/// Fraction of the cores' time that the hypervisor took.
const STEAL: Limits = Limits {
    busy: 0.02,
    noisy: 0.25,
};

/// Fraction of the ceilings whose samples spread by more than [`SPREAD`].
const CEILINGS: Limits = Limits {
    busy: 0.1,
    noisy: 0.5,
};

/// Fraction of the results with scattered samples, among those with enough samples.
const SCATTER: Limits = Limits {
    busy: 0.3,
    noisy: 0.8,
};

/// Periods in which a quota stopped the run.
const THROTTLED: Limits = Limits {
    busy: 0.0,
    noisy: f64::INFINITY,
};

/// Distance of a ceiling's median sample from its best, relative to the best, that a quiet machine stays below.
pub const SPREAD: f64 = 0.05;

/// Largest number of facts in the line.
const SHOWN: usize = 3;

/// A measured disturbance.
#[derive(Clone, Debug)]
struct Fact {
    text: String,
    value: f64,
    limits: Limits,
}

impl Fact {
    fn level(&self) -> Level {
        match self.value {
            v if v > self.limits.noisy => Level::Noisy,
            v if v > self.limits.busy => Level::Busy,
            _ => Level::Quiet,
        }
    }
}

/// Facts about the disturbances of a run.
#[derive(Clone, Debug, Default)]
pub struct Noise {
    facts: Vec<Fact>,
    load: Option<f64>,
}

impl Noise {
    /// Facts of a record. A record of an older program has at least its peaks, its samples and its calibration.
    pub fn of_run(run: &Run) -> Noise {
        let noise = Noise {
            load: run.fingerprint.load_average,
            ..Noise::default()
        };
        let noise = noise
            .peaks(peaks_of(run))
            .periods(&run.noise)
            .calibration(&run.calibration)
            .samples(run);
        match run.conditions.throttling {
            Some(throttling) => noise.throttling(throttling),
            None => noise,
        }
    }

    /// Adds the peaks of the rounds, of each instruction set, arithmetic and number of threads. Only the widest spread counts.
    pub fn peaks(mut self, groups: impl IntoIterator<Item = (usize, Vec<f64>)>) -> Noise {
        let spreads = groups
            .into_iter()
            .filter_map(|(threads, peaks)| Some((threads, spread(peaks)?)));
        if let Some((n, spread)) = spreads.max_by(|a, b| a.1.total_cmp(&b.1)) {
            let text = format!("peaks on {} differ by {}", threads(n), percent(spread));
            self.add(text, spread, PEAKS);
        }
        self
    }

    /// Adds what the system counted.
    pub fn periods(mut self, periods: &[NoisePeriod]) -> Noise {
        self.load = self.load.or(periods.first().and_then(|p| p.load_average));
        if let Some(others) = mean(periods, |p| p.others) {
            let text = format!("other processes took {} of the cores", percent(others));
            self.add(text, others, OTHERS);
        }
        if let Some(steal) = mean(periods, |p| p.steal) {
            let text = format!("the hypervisor took {} of the cores", percent(steal));
            self.add(text, steal, STEAL);
        }
        self
    }

    /// Adds the spread of the ceilings.
    pub fn calibration(mut self, calibration: &Calibration) -> Noise {
        let peaks = calibration.peaks.iter().map(|p| p.spread);
        let bandwidths = calibration.bandwidths.iter().map(|b| b.spread);
        let spreads: Vec<f64> = peaks.chain(bandwidths).collect();
        let wide = spreads.iter().filter(|s| **s > SPREAD).count();
        let text = format!(
            "ceilings that spread by more than {}: {wide} of {}",
            percent(SPREAD),
            spreads.len()
        );
        self.share(text, (wide, spreads.len()), CEILINGS);
        self
    }

    /// Adds the results with scattered samples.
    fn samples(mut self, run: &Run) -> Noise {
        let samples = run.measurements.iter().map(|m| &m.samples_ns);
        let enough = samples.filter(|s| s.len() >= FEW);
        let summaries: Vec<Summary> = enough.filter_map(|s| Summary::of(s)).collect();
        let scattered = summaries.iter().filter(|s| s.is_scattered()).count();
        let text = format!(
            "results that scatter by more than {}: {scattered} of {}",
            percent(SCATTERED),
            summaries.len()
        );
        self.share(text, (scattered, summaries.len()), SCATTER);
        self
    }

    fn throttling(mut self, throttling: Throttling) -> Noise {
        let periods = throttling.periods;
        let text = format!("periods in which a quota stopped the run: {periods}");
        self.add(text, periods as f64, THROTTLED);
        self
    }

    /// Adds a number of things among all of them, if there are any.
    fn share(&mut self, text: String, (some, all): (usize, usize), limits: Limits) {
        if all > 0 {
            self.add(text, some as f64 / all as f64, limits);
        }
    }

    fn add(&mut self, text: String, value: f64, limits: Limits) {
        self.facts.push(Fact {
            text,
            value,
            limits,
        });
    }

    /// Level of the worst fact; none without facts.
    pub fn level(&self) -> Option<Level> {
        self.facts.iter().map(Fact::level).max()
    }

    /// The line, without a full stop: the level, the facts behind it, and what can be trusted.
    pub fn line(&self) -> String {
        let Some(level) = self.level() else {
            return "How busy this machine was is unknown".into();
        };
        let mut shown: Vec<&Fact> = self.facts.iter().collect();
        if level > Level::Quiet {
            let severity = |f: &Fact| f.value / f.limits.busy;
            shown.retain(|f| f.level() > Level::Quiet);
            shown.sort_by(|a, b| {
                let by_level = b.level().cmp(&a.level());
                by_level.then(severity(b).total_cmp(&severity(a)))
            });
        }
        let texts = shown.iter().take(SHOWN).map(|f| f.text.clone());
        let load = self.load.map(|load| format!("load {load:.1}"));
        let facts = texts.chain(load).collect::<Vec<_>>().join(", ");
        match level {
            Level::Quiet => format!("Quiet: {facts}"),
            Level::Busy => format!("This machine was busy: {facts}; trust ratios, not times"),
            Level::Noisy => format!(
                "This machine was noisy: {facts}; trust no times, and ratios only with their intervals"
            ),
        }
    }
}

/// The peaks of a record's rounds, by instruction set, arithmetic and number of threads.
fn peaks_of(run: &Run) -> Vec<(usize, Vec<f64>)> {
    // Candidates of one round share its peak.
    let mut groups: BTreeMap<(&IsaName, Arithmetic, usize), BTreeMap<_, f64>> = BTreeMap::new();
    for m in &run.measurements {
        let key = (m.variant.isa(), m.arithmetic(), m.threads);
        let group = groups.entry(key).or_default();
        let peaks = m.rounds.iter().zip(&m.peak_gflops);
        group.extend(peaks.map(|(round, peak)| ((&m.problem, &m.cache, round), *peak)));
    }
    let groups = groups.into_iter();
    let all = groups.map(|((_, _, threads), peaks)| (threads, peaks.into_values().collect()));
    all.collect()
}

/// Distance from the ninth decile down to the first, relative to the ninth. None for few peaks, or impossible ones.
fn spread(mut peaks: Vec<f64>) -> Option<f64> {
    if peaks.len() < FEW || peaks.iter().any(|p| !p.is_finite() || *p <= 0.0) {
        return None;
    }
    peaks.sort_by(f64::total_cmp);
    let (low, high) = (peaks[peaks.len() / 10], peaks[peaks.len() * 9 / 10]);
    Some((high - low) / high)
}

/// Mean over the time of the periods in which the value is known.
fn mean(periods: &[NoisePeriod], of: impl Fn(&NoisePeriod) -> Option<f64>) -> Option<f64> {
    let known = periods.iter().filter_map(|p| Some((p.seconds, of(p)?)));
    let (time, sum) = known.fold((0.0, 0.0), |(time, sum), (s, x)| (time + s, sum + s * x));
    let mean = sum / time;
    mean.is_finite().then_some(mean)
}

fn percent(fraction: f64) -> String {
    format!("{:.0} %", 100.0 * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    fn period(seconds: f64, others: Option<f64>, steal: Option<f64>) -> NoisePeriod {
        NoisePeriod {
            seconds,
            others,
            steal,
            load_average: Some(1.5),
            ..NoisePeriod::default()
        }
    }

    #[test]
    fn a_quiet_run_says_how_quiet_it_was() {
        let noise = Noise::default()
            .peaks([
                (1, vec![100.0; 9]),
                (2, vec![196.0, 200.0, 200.0, 200.0, 200.0]),
            ])
            .periods(&[period(1.0, Some(0.0), None), period(3.0, Some(0.04), None)]);
        assert_eq!(noise.level(), Some(Level::Quiet));
        assert_eq!(
            noise.line(),
            "Quiet: peaks on 2 threads differ by 2 %, other processes took 3 % of the cores, load 1.5"
        );
    }

    #[test]
    fn the_worst_fact_comes_first_and_decides() {
        let busy = Noise::default()
            .peaks([
                (1, vec![100.0; 9]),
                (2, vec![140.0, 200.0, 200.0, 200.0, 200.0]),
            ])
            .periods(&[period(1.0, Some(0.12), Some(0.01))]);
        assert_eq!(busy.level(), Some(Level::Busy));
        assert_eq!(
            busy.line(),
            "This machine was busy: peaks on 2 threads differ by 30 %, other processes took 12 % of the cores, load 1.5; trust ratios, not times"
        );
        let noisy = busy.periods(&[period(1.0, None, Some(0.26))]);
        assert_eq!(noisy.level(), Some(Level::Noisy));
        let line = noisy.line();
        assert!(
            line.starts_with(
                "This machine was noisy: the hypervisor took 26 % of the cores, peaks"
            ),
            "{line}"
        );
    }

    #[test]
    fn limits_are_as_stated() {
        let level = |value, limits| {
            let mut noise = Noise::default();
            noise.add("x".into(), value, limits);
            noise.level().expect("a fact")
        };
        for limits in [PEAKS, OTHERS, STEAL, CEILINGS, SCATTER] {
            assert_eq!(level(limits.busy, limits), Level::Quiet);
            assert_eq!(level(limits.busy * 1.01, limits), Level::Busy);
            assert_eq!(level(limits.noisy * 1.01, limits), Level::Noisy);
        }
        assert_eq!(level(0.0, THROTTLED), Level::Quiet);
        assert_eq!(level(1e9, THROTTLED), Level::Busy);
    }

    #[test]
    fn facts_that_are_not_known_are_not_said() {
        let noise = Noise::default().periods(&[period(0.0, Some(0.5), None)]);
        assert_eq!(noise.level(), None, "a period without length");
        assert_eq!(noise.line(), "How busy this machine was is unknown");
        let few = Noise::default().peaks([(1, vec![1.0, 100.0])]);
        assert_eq!(few.level(), None);
        let impossible = Noise::default().peaks([(1, vec![0.0; 9]), (1, vec![f64::NAN; 9])]);
        assert_eq!(impossible.level(), None);
    }

    #[test]
    fn an_old_record_is_judged_by_its_peaks_samples_and_ceilings() {
        let mut run = sample();
        run.noise.clear();
        run.conditions.throttling = None;
        let m = &mut run.measurements[0];
        (m.samples_ns, m.rounds) = (vec![2.0e6; 10], (0..10).collect());
        m.peak_gflops = vec![118.0; 10];
        assert_eq!(Noise::of_run(&run).level(), Some(Level::Quiet));

        let mut drifting = run.clone();
        drifting.measurements[0].peak_gflops[..2].fill(59.0);
        let line = Noise::of_run(&drifting).line();
        assert!(
            line.contains("noisy: peaks on 1 thread differ by 50 %"),
            "{line}"
        );

        let mut scattered = run.clone();
        scattered.measurements[0].samples_ns[..5].fill(4.0e6);
        let line = Noise::of_run(&scattered).line();
        assert!(line.contains("scatter by more than 10 %: 1 of 1"), "{line}");

        let mut spread = run.clone();
        spread.calibration.bandwidths[0].spread = 0.2;
        let line = Noise::of_run(&spread).line();
        assert!(
            line.contains("busy: ceilings that spread by more than 5 %: 1 of 5"),
            "{line}"
        );

        run.conditions.throttling = Some(Throttling { periods: 2, us: 1 });
        let line = Noise::of_run(&run).line();
        assert!(line.contains("a quota stopped the run: 2"), "{line}");
    }

    #[test]
    fn one_round_is_one_peak() {
        let mut run = sample();
        let m = &mut run.measurements[0];
        (m.rounds, m.peak_gflops) = ((0..4).collect(), vec![100.0; 4]);
        let other = m.clone();
        run.measurements.push(other);
        assert_eq!(peaks_of(&run), [(1, vec![100.0; 4])]);
    }

    #[test]
    fn peaks_of_two_types_are_no_disturbance() {
        let mut run = sample();
        let m = &mut run.measurements[0];
        (m.rounds, m.peak_gflops) = ((0..5).collect(), vec![100.0; 5]);
        let mut int8 = m.clone();
        int8.problem = "--dt=u8:s8:u8 mb1ic64ih56oc64oh56kh3ph1".into();
        int8.peak_gflops = vec![400.0; 5];
        run.measurements.push(int8);
        assert_eq!(peaks_of(&run), [(1, vec![100.0; 5]), (1, vec![400.0; 5])]);
    }
}
