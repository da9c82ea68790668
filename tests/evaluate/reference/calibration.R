# Calibration of the columns a and b of data.csv. Rscript calibration.R > calibration.json, in this folder.
# intercept, slope: stats::glm; standard errors with several units a patient: rms::robcov; the rest: rms::val.prob.
suppressMessages({library(rms); library(jsonlite)})
d <- read.csv("data.csv")
of <- function(p) {
  lp <- qlogis(p)
  large <- glm(d$y ~ 1, offset = lp, family = binomial, control = glm.control(epsilon = 1e-14))
  line <- glm(d$y ~ lp, family = binomial, control = glm.control(epsilon = 1e-14))
  clustered <- robcov(lrm(d$y ~ lp, x = TRUE, y = TRUE, eps = 1e-14, tol = 1e-14), d$patient)
  u <- rowsum(d$y - fitted(large), d$patient)
  v <- val.prob(p, d$y, pl = FALSE)
  er <- abs(p - approx(lowess(p, d$y, iter = 0), xout = p, ties = mean)$y)
  list(intercept = unname(coef(large)), intercept_variance = vcov(large)[1, 1],
       intercept_clustered = sum(u^2) * vcov(large)[1, 1]^2,
       slope = unname(coef(line)[2]), slope_variance = vcov(line)[2, 2],
       slope_clustered = clustered$var[2, 2],
       val_prob_slope = unname(v["Slope"]), ici = unname(v["Eavg"]), e90 = unname(v["E90"]),
       emax = unname(v["Emax"]), e50 = median(er))
}
version <- list(R = paste(R.version$major, R.version$minor, sep = "."), rms = as.character(packageVersion("rms")))
cat(toJSON(list(source = "calibration.R: stats::glm, rms::val.prob, rms::robcov", version = version,
                a = of(d$a), b = of(d$b)), auto_unbox = TRUE, digits = NA, pretty = TRUE), "\n")
