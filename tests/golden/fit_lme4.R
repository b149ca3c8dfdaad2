# Fit the reference models with lme4 and write one JSON file per model.
# Usage: Rscript tests/golden/fit_lme4.R

suppressPackageStartupMessages({
  library(lme4)
  library(jsonlite)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
here <- dirname(normalizePath(script))

# Gradient and Hessian by central differences with Richardson extrapolation. The
# steps are wide because the deviance carries rounding noise of 1e-12 to 1e-10.
gradient <- function(f, x, h = 4e-3) {
  sapply(seq_along(x), function(k) {
    e <- replace(numeric(length(x)), k, h)
    d <- sapply(c(1, 1 / 2, 1 / 4), function(s) (f(x + s * e) - f(x - s * e)) / (2 * h * s))
    sum(d * c(1, -20, 64)) / 45 # cancels the h^2 and h^4 error terms
  })
}

hessian <- function(f, x, h = 1e-3) {
  H <- sapply(seq_along(x), function(k) {
    e <- replace(numeric(length(x)), k, h)
    (gradient(f, x + e) - gradient(f, x - e)) / (2 * h)
  })
  H <- matrix(H, length(x))
  (H + t(H)) / 2
}

# lmer's optimisers compare deviances only, and a deviance of size 1e3 to 1e5 in
# double precision fixes theta to about 1e-6. Newton steps on the gradient gain
# the missing digits. A theta on its bound (variance 0) stays there.
polish <- function(devfun, theta, lower) {
  free <- theta > lower
  if (!any(free)) return(theta)
  f <- function(x) devfun(replace(theta, free, x))
  for (i in 1:20) {
    x <- theta[free]
    step <- solve(hessian(f, x), gradient(f, x))
    theta[free] <- x - step
    if (max(abs(step)) < 1e-10) break
  }
  if (max(abs(step)) > 1e-8) warning("Newton steps did not settle: ", max(abs(step)))
  theta
}

fit <- function(formula, data, reml) {
  parts <- lFormula(formula, data, REML = reml, control = lmerControl())
  devfun <- do.call(mkLmerDevfun, parts)
  control <- list(xtol_abs = 1e-10, ftol_abs = 1e-10, maxeval = 1e5)
  theta <- parts$reTrms$theta
  for (i in 1:20) { # restart from the optimum until it no longer moves
    opt <- optimizeLmer(devfun, optimizer = "nloptwrap", start = theta,
                        control = control, restart_edge = TRUE, calc.derivs = FALSE)
    moved <- max(abs(opt$par - theta))
    theta <- opt$par
    if (moved < 1e-6) break
  }
  opt$par <- polish(devfun, theta, environment(devfun)$lower)
  # lmer's own convergence check, for the warnings it would give here.
  derivs <- list(gradient = gradient(devfun, opt$par), Hessian = hessian(devfun, opt$par))
  conv <- checkConv(derivs, opt$par, lmerControl()$checkConv, environment(devfun)$lower)
  opt$fval <- devfun(opt$par) # also leaves devfun's state at the final theta
  mkMerMod(environment(devfun), opt, parts$reTrms, fr = parts$fr, lme4conv = conv)
}

golden <- function(name, formula, file, reml = TRUE, weights = NULL) {
  data <- read.csv(file.path(here, "data", file), stringsAsFactors = FALSE)
  # Levels in order of first appearance, so no locale's sort order matters.
  group <- names(data)[names(data) %in% c("Subject", "school", "Batch")]
  data[[group]] <- factor(data[[group]], levels = unique(data[[group]]))
  # lmer's own weights scale the variance of a row; ours repeat the row.
  if (!is.null(weights)) data <- data[rep(seq_len(nrow(data)), data[[weights]]), ]

  warned <- character()
  note <- function(w) {
    warned <<- c(warned, trimws(conditionMessage(w)))
    invokeRestart(if (inherits(w, "warning")) "muffleWarning" else "muffleMessage")
  }
  m <- withCallingHandlers(fit(as.formula(formula), data, reml), warning = note, message = note)

  # `||` gives one 1x1 block per term: join the blocks, zeros elsewhere.
  blocks <- VarCorr(m)
  re <- ranef(m, condVar = FALSE)[[group]]
  by_group <- lapply(seq_len(nrow(re)), function(i) as.list(re[i, , drop = FALSE]))
  out <- list(
    formula = formula,
    reml = reml,
    data = file,
    weights = weights,
    group = group,
    fixef = as.list(fixef(m)),
    vcov = unname(as.matrix(vcov(m))),
    varcorr = list(
      names = I(unlist(lapply(blocks, rownames), use.names = FALSE)),
      cov = unname(as.matrix(Matrix::bdiag(lapply(blocks, as.matrix))))
    ),
    sigma2 = sigma(m)^2,
    logLik = as.numeric(logLik(m)),
    n_obs = nobs(m),
    n_groups = unname(ngrps(m)),
    singular = isSingular(m),
    warnings = I(warned),
    group_order = I(rownames(re)),
    ranef = setNames(by_group, rownames(re)),
    lme4_version = as.character(packageVersion("lme4")),
    R_version = as.character(getRversion())
  )
  json <- toJSON(out, auto_unbox = TRUE, digits = I(15), null = "null", pretty = 1)
  writeLines(json, file.path(here, paste0(name, ".json")))
  cat(sprintf("%-26s logLik %.8f  sigma2 %.8f%s\n", name, out$logLik, out$sigma2,
              if (length(warned)) paste("  warnings:", paste(warned, collapse = "; ")) else ""))
}

sleep <- "Reaction ~ Days + (Days | Subject)"
golden("sleepstudy_reml", sleep, "sleepstudy.csv")
golden("sleepstudy_ml", sleep, "sleepstudy.csv", reml = FALSE)
golden("sleepstudy_diag_reml", "Reaction ~ Days + (Days || Subject)", "sleepstudy.csv")
golden("sleepstudy_intercept_reml", "Reaction ~ Days + (1 | Subject)", "sleepstudy.csv")
golden("sleepstudy_slope_only_reml", "Reaction ~ Days + (0 + Days | Subject)", "sleepstudy.csv")
golden("weights", sleep, "sleepstudy.csv", weights = "w")

ortho <- "distance ~ age + (age | Subject)"
golden("orthodont_reml", ortho, "orthodont.csv")
golden("orthodont_ml", ortho, "orthodont.csv", reml = FALSE)

exam <- "normexam ~ standLRT + (standLRT | school)"
golden("exam_reml", exam, "exam.csv")
golden("exam_ml", exam, "exam.csv", reml = FALSE)
golden("exam_fixed_reml", "normexam ~ standLRT + sexM + schavg + (standLRT | school)", "exam.csv")

hsb <- "mAch ~ cses * meanses + cses * sectorCatholic + (cses | school)"
golden("hsb82_reml", hsb, "hsb82.csv")
golden("hsb82_ml", hsb, "hsb82.csv", reml = FALSE)

golden("dyestuff2_reml", "Yield ~ 1 + (1 | Batch)", "dyestuff2.csv") # variance 0: on the boundary
