# Reference values for tests/models/test_partial_likelihood.py: R's survival package.
# Run in this folder: Rscript cox.R
# Times are whole weeks so that there are many ties; ridge(theta, scale = FALSE) is |coef|^2 * theta / 2.
suppressMessages(library(survival))
set.seed(20)
n <- 70
x <- matrix(round(rnorm(n * 4), 3), n, 4)
latent <- rexp(n, 0.02 * exp(0.8 * x[, 1] - 0.5 * x[, 2]))
limit <- rexp(n, 0.012)
time <- ceiling(pmin(latent, limit) / 4)
event <- as.integer(latent <= limit)
times <- c(1, 3, 5.5, 8, 12, 40)
control <- coxph.control(eps = 1e-13, iter.max = 200, outer.max = 200)

numbers <- function(v) paste0("[", paste(sprintf("%.15g", v), collapse = ", "), "]")
fits <- sapply(c(0.1, 2, 50), function(theta) {
  fit <- coxph(Surv(time, event) ~ ridge(x[, 1], x[, 2], x[, 3], x[, 4], theta = theta, scale = FALSE),
               ties = "efron", control = control)
  beta <- as.numeric(coef(fit))
  # the unpenalised log partial likelihood at these coefficients, and the Breslow hazard at x = 0
  held <- coxph(Surv(time, event) ~ x, ties = "efron", init = beta, control = coxph.control(iter.max = 0))
  curve <- survfit(held, newdata = data.frame(x = I(matrix(0, 1, 4))), stype = 2, ctype = 1)
  hazard <- summary(curve, times = times, extend = TRUE)$cumhaz
  sprintf('{"theta": %.15g, "coef": %s, "log_likelihood": %.15g, "hazard": %s}',
          theta, numbers(beta), held$loglik[2], numbers(hazard))
})
score <- sapply(1:4, function(j) {
  one <- coxph(Surv(time, event) ~ x[, j], ties = "efron", control = control)
  one$score
})
free <- coxph(Surv(time, event) ~ x, ties = "efron", control = control)
cat(sprintf('{"source": "R %s, survival %s: coxph with ridge(), survfit with ctype = 1; cox.R beside this file",\n',
            getRversion(), packageVersion("survival")),
    sprintf('"x": [%s],\n', paste(apply(x, 1, numbers), collapse = ", ")),
    sprintf('"time": %s,\n"event": %s,\n"times": %s,\n', numbers(time), numbers(event), numbers(times)),
    sprintf('"score_chi_square": %s,\n', numbers(score)),
    sprintf('"variance_at_free_fit": [%s],\n', paste(apply(free$var, 1, numbers), collapse = ", ")),
    sprintf('"free_coef": %s,\n', numbers(coef(free))),
    sprintf('"fits": [\n%s\n]}\n', paste(fits, collapse = ",\n")), sep = "", file = "cox.json")
