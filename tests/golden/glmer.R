# Fit generalised linear mixed models with lme4 and glmmTMB and write glmer.csv: one line per
# number, with columns model, name, value.
# Usage: Rscript tests/golden/glmer.R

suppressPackageStartupMessages({
  library(lme4)
  library(glmmTMB)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
here <- dirname(normalizePath(script))
read <- function(file) read.csv(file.path(here, "data", file))
out <- NULL

# Fixed effects b1, b2, ..., the lower triangle of the covariance v1, v2, ..., the log-likelihood.
add <- function(model, b, V, log_lik, phi = NULL) {
  v <- V[lower.tri(V, diag = TRUE)]
  value <- c(b, v, log_lik, phi)
  name <- c(paste0("b", seq_along(b)), paste0("v", seq_along(v)), "log_likelihood",
            if (!is.null(phi)) "dispersion")
  out <<- rbind(out, data.frame(model = model, name = name, value = unname(value)))
}

# lme4's default rules stop at 3 or 4 digits. With nAGQ > 1 its log-likelihood is relative to that
# of the saturated model.
control <- glmerControl(optimizer = "bobyqa", tolPwrss = 1e-12,
                        optCtrl = list(rhoend = 1e-9, maxfun = 1e5))
golden <- function(model, formula, data, family, nAGQ = 1, ...) {
  m <- glmer(formula, data, family, nAGQ = nAGQ, control = control, ...)
  V <- Matrix::bdiag(lapply(VarCorr(m), as.matrix)) # `||` gives a block per term
  add(model, fixef(m), as.matrix(V), as.numeric(logLik(m)))
}

contraception <- read("contraception.csv")
fixed <- use ~ age + age2 + urban
for (n in c(1, 9)) {
  golden(paste0("contraception_", n), update(fixed, . ~ . + (1 | district)), contraception,
         binomial, n)
}
golden("contraception_slope", update(fixed, . ~ . + (urban | district)), contraception, binomial)
golden("contraception_diag", update(fixed, . ~ . + (urban || district)), contraception, binomial)

cbpp <- read("cbpp.csv") # binomial counts: the log-likelihood has their coefficients
for (n in c(1, 9)) {
  golden(paste0("cbpp_", n), cbind(incidence, size - incidence) ~ factor(period) + (1 | herd),
         cbpp, binomial, n)
}
ones <- rbind(cbpp, cbpp) # the same as rows of 0 and 1
ones$y <- rep(1:0, each = nrow(cbpp))
ones <- ones[rep(seq_len(nrow(ones)), c(cbpp$incidence, cbpp$size - cbpp$incidence)), ]
golden("cbpp_rows", y ~ factor(period) + (1 | herd), ones, binomial)

ticks <- read("grouseticks.csv")
fixed <- TICKS ~ year96 + year97 + cHEIGHT
for (n in c(1, 9)) {
  golden(paste0("grouseticks_", n), update(fixed, . ~ . + (1 | BROOD)), ticks, poisson, n)
}

# glmer takes the dispersion of a gamma from the residuals, glmmTMB maximises over it.
tight <- glmmTMBControl(optCtrl = list(iter.max = 1e4, eval.max = 1e4, rel.tol = 1e-12))
m <- glmmTMB(Reaction ~ Days + (1 | Subject), read("sleepstudy.csv"), Gamma("log"),
             control = tight)
add("sleepstudy_gamma", fixef(m)$cond, VarCorr(m)$cond[[1]], as.numeric(logLik(m)), sigma(m)^2)
m <- glmmTMB(update(fixed, . ~ . + (1 | BROOD)), ticks, tweedie("log"), control = tight,
             start = list(psi = 0), map = list(psi = factor(NA))) # power 1.5
add("grouseticks_tweedie", fixef(m)$cond, VarCorr(m)$cond[[1]], as.numeric(logLik(m)), sigma(m))

out$value <- sprintf("%.9g", out$value)
write.csv(out, file.path(here, "glmer.csv"), row.names = FALSE, quote = FALSE)
cat(R.version.string, " lme4", as.character(packageVersion("lme4")),
    " glmmTMB", as.character(packageVersion("glmmTMB")), "\n")
