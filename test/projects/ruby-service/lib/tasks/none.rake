task :none
