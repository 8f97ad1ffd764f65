//! Spectra made smooth: the mean over a band around each bin, and the hole below the pitch filled.
//!
//! Both are steps that CheapTrick and D4C share (papers in those files). It may not know what the spectra are of.

/// The mean over `width_bins` around each bin. A spectrum is mirrored at 0 Hz and at half the rate.
#[derive(Debug, Default)]
pub(super) struct Smoother {
    /// Integral of the mirrored spectrum up to the lower edge of each bin.
    integral: Vec<f64>,
}

impl Smoother {
    pub(super) fn smooth(&mut self, spectrum: &mut [f64], width_bins: f64) {
        let last = spectrum.len() as isize - 1;
        let margin = (width_bins / 2.0).ceil() as isize + 1;
        let mirrored = |bin: isize| {
            let bin = bin.abs().min(2 * last).min(last * 2);
            let bin = if bin > last { 2 * last - bin } else { bin };
            spectrum[bin.clamp(0, last) as usize]
        };
        self.integral.clear();
        self.integral.push(0.0);
        let mut sum = 0.0;
        for bin in -margin..=last + margin {
            sum += mirrored(bin);
            self.integral.push(sum);
        }
        // Bin b reaches from b - ½ to b + ½, so that edge b + margin + ½ of `integral` lies at its middle.
        let up_to = |at: f64| {
            let place = at + margin as f64 + 0.5;
            let whole = place.floor();
            let index = whole as usize;
            let (low, high) = (self.integral[index], self.integral[(index + 1).min(self.integral.len() - 1)]);
            low + (high - low) * (place - whole)
        };
        for (bin, value) in spectrum.iter_mut().enumerate() {
            let at = bin as f64;
            *value = (up_to(at + width_bins / 2.0) - up_to(at - width_bins / 2.0)) / width_bins;
        }
    }
}

/// Below the pitch a window sees half a harmonic: the part mirrored at half the pitch is added.
pub(super) fn fill_below_pitch(power: &mut [f64], pitch_bins: f64) {
    let end = (pitch_bins.floor() as usize + 1).min(power.len() - 1);
    let added: Vec<f64> = (0..end)
        .map(|bin| {
            let from = pitch_bins - bin as f64;
            let low = (from.floor().max(0.0) as usize).min(power.len() - 2);
            power[low] + (power[low + 1] - power[low]) * (from - low as f64)
        })
        .collect();
    power.iter_mut().zip(added).for_each(|(power, added)| *power += added);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_spectrum_stays_and_a_line_becomes_a_band() {
        let mut flat = vec![2.0; 65];
        Smoother::default().smooth(&mut flat, 7.3);
        assert!(flat.iter().all(|value| (value - 2.0).abs() < 1e-12));
        let mut line = vec![0.0; 65];
        line[30] = 1.0;
        Smoother::default().smooth(&mut line, 4.0);
        assert!((line.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((line[30] - 0.25).abs() < 1e-12 && (line[28] - 0.125).abs() < 1e-12 && line[27] == 0.0, "{:?}", &line[26..35]);
    }
}
