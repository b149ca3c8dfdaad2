# Time lme4's glmer on y ~ x + (1 | g) or y ~ x + (x | g), and print one line of JSON.
# Usage: OMP_NUM_THREADS=1 Rscript benchmarks/glmer_speed.R binomial|poisson intercept|all data.csv
# The CSV has columns y, x, g (g integer).

suppressPackageStartupMessages(library(lme4))

args <- commandArgs(trailingOnly = TRUE)
family <- args[1]
formula <- if (args[2] == "all") y ~ x + (x | g) else y ~ x + (1 | g)
data <- read.csv(args[3], colClasses = c(y = "numeric", x = "numeric", g = "integer"))

# Processor time; reading the file is not timed.
fit <- function(...) {
  time <- system.time(m <- glmer(formula, data, family, nAGQ = 1, control = glmerControl(...)))
  list(
    seconds = time[["user.self"]] + time[["sys.self"]],
    fixef = unname(fixef(m)),
    varcorr = as.matrix(VarCorr(m)$g[, , drop = FALSE]),
    log_likelihood = as.numeric(logLik(m))
  )
}

# The defaults stop at 3 or 4 digits; "fast" is what its authors advise where they take too long.
tight <- list(rhoend = 1e-9, maxfun = 1e5)
cat(jsonlite::toJSON(list(
  default = fit(),
  fast = fit(optimizer = "nloptwrap", calc.derivs = FALSE),
  tight = fit(optimizer = "bobyqa", tolPwrss = 1e-12, optCtrl = tight, calc.derivs = FALSE),
  lme4_version = as.character(packageVersion("lme4"))
), auto_unbox = TRUE, digits = I(12)), "\n", sep = "")
