# Time lme4 on y ~ x + (x | g), REML, and print one line of JSON.
# Usage: OMP_NUM_THREADS=1 Rscript benchmarks/lme4_speed.R N_TASKS N_ROWS data.csv
# The CSV has columns y, x, g (g integer): N_TASKS groups of N_ROWS rows each.

suppressPackageStartupMessages(library(lme4))

args <- commandArgs(trailingOnly = TRUE)
n_tasks <- as.integer(args[1])
n_rows <- as.integer(args[2])
data <- read.csv(args[3], colClasses = c(y = "numeric", x = "numeric", g = "integer"))
stopifnot(nrow(data) == n_tasks * n_rows, length(unique(data$g)) == n_tasks)

# Reading the file is not timed. lmer's check of the gradient and Hessian after
# the fit is not part of the estimate, so time it with and without that check.
elapsed <- function(expr) system.time(expr)[["elapsed"]]
seconds <- elapsed(m <- lmer(y ~ x + (x | g), data, REML = TRUE))
no_check <- lmerControl(calc.derivs = FALSE)
seconds_no_check <- elapsed(lmer(y ~ x + (x | g), data, REML = TRUE, control = no_check))

cat(jsonlite::toJSON(list(
  n_tasks = n_tasks,
  n_rows = n_rows,
  seconds = seconds,
  seconds_no_derivative_check = seconds_no_check,
  fixef = as.list(fixef(m)),
  varcorr = unname(as.matrix(VarCorr(m)$g[, ])),
  sigma2 = sigma(m)^2,
  lme4_version = as.character(packageVersion("lme4"))
), auto_unbox = TRUE, digits = I(12)), "\n", sep = "")
